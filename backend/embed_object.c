/* The bytes of net.cubin as a relocatable ELF object, without a compiler: .rodata with the symbols <prefix>_data
 * (aligned to 16) and <prefix>_size, and the note that the stack need not be executable. For the machine that apnnc
 * runs on. */
#include "embed.h"
#include "file_write.h"
#include <elf.h>
#include <string.h>

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { MACHINE = EM_AARCH64 };
#else
#error "embed_object.c writes objects for x86-64 and aarch64"
#endif

enum { SECTION_NULL, SECTION_RODATA, SECTION_STACK_NOTE, SECTION_SYMTAB, SECTION_STRTAB, SECTION_SHSTRTAB, SECTIONS };
enum { SYMBOL_NULL, SYMBOL_DATA, SYMBOL_SIZE, SYMBOLS };
enum { DATA_ALIGN = 16 };

static size_t align_up(size_t n) {
  return (n + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;
}

/* Appends a name to a string table that begins with a zero byte; its offset. */
static Elf64_Word add_name(Text *table, const char *name, const char *suffix) {
  if (table->length == 0) text_add_bytes(table, "", 1);
  Elf64_Word offset = (Elf64_Word)table->length;
  text_add_bytes(table, name, strlen(name));
  text_add_bytes(table, suffix, strlen(suffix) + 1);
  return offset;
}

static Elf64_Sym object_symbol(Elf64_Word name, Elf64_Addr value, Elf64_Xword size) {
  return (Elf64_Sym){.st_name = name,
                     .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                     .st_other = STV_DEFAULT,
                     .st_shndx = SECTION_RODATA,
                     .st_value = value,
                     .st_size = size};
}

static Elf64_Shdr section(Text *names, const char *name, Elf64_Word type, size_t size, size_t align) {
  return (Elf64_Shdr){.sh_name = add_name(names, name, ""), .sh_type = type, .sh_size = size, .sh_addralign = align};
}

/* Places the sections one after the other behind the ELF header; the offset of the section table. */
static size_t place_sections(Elf64_Shdr sections[SECTIONS]) {
  size_t at = sizeof(Elf64_Ehdr);
  for (int i = 1; i < SECTIONS; i++) {
    at = align_up(at);
    sections[i].sh_offset = at;
    at += sections[i].sh_size;
  }
  return align_up(at);
}

static Elf64_Ehdr elf_header(size_t table_offset) {
  return (Elf64_Ehdr){.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                      .e_type = ET_REL,
                      .e_machine = MACHINE,
                      .e_version = EV_CURRENT,
                      .e_shoff = table_offset,
                      .e_ehsize = sizeof(Elf64_Ehdr),
                      .e_shentsize = sizeof(Elf64_Shdr),
                      .e_shnum = SECTIONS,
                      .e_shstrndx = SECTION_SHSTRTAB};
}

static void build_object(Context *c, const char *prefix, const Text *bytes, Text *out) {
  Text symbol_names = {.context = c}, section_names = {.context = c};
  uint64_t size_at = align_up(bytes->length), data_size = bytes->length;
  Elf64_Sym symbols[SYMBOLS] = {{0}};
  symbols[SYMBOL_DATA] = object_symbol(add_name(&symbol_names, prefix, "_data"), 0, data_size);
  symbols[SYMBOL_SIZE] = object_symbol(add_name(&symbol_names, prefix, "_size"), size_at, sizeof data_size);

  Elf64_Shdr sections[SECTIONS] = {{0}};
  Text *names = &section_names;
  sections[SECTION_RODATA] = section(names, ".rodata", SHT_PROGBITS, size_at + sizeof data_size, DATA_ALIGN);
  sections[SECTION_RODATA].sh_flags = SHF_ALLOC;
  sections[SECTION_STACK_NOTE] = section(names, ".note.GNU-stack", SHT_PROGBITS, 0, 1);
  sections[SECTION_SYMTAB] = section(names, ".symtab", SHT_SYMTAB, sizeof symbols, 8);
  sections[SECTION_SYMTAB].sh_link = SECTION_STRTAB;
  sections[SECTION_SYMTAB].sh_info = SYMBOL_DATA; /* the first global one */
  sections[SECTION_SYMTAB].sh_entsize = sizeof symbols[0];
  sections[SECTION_STRTAB] = section(names, ".strtab", SHT_STRTAB, symbol_names.length, 1);
  sections[SECTION_SHSTRTAB] = section(names, ".shstrtab", SHT_STRTAB, 0, 1);
  sections[SECTION_SHSTRTAB].sh_size = section_names.length;

  size_t table_offset = place_sections(sections);
  Elf64_Ehdr header = elf_header(table_offset);
  size_t total = table_offset + sizeof sections;
  char *file = arena_alloc(c, total);
  memcpy(file, &header, sizeof header);
  memcpy(file + sections[SECTION_RODATA].sh_offset, bytes->data, data_size);
  memcpy(file + sections[SECTION_RODATA].sh_offset + size_at, &data_size, sizeof data_size);
  memcpy(file + sections[SECTION_SYMTAB].sh_offset, symbols, sizeof symbols);
  memcpy(file + sections[SECTION_STRTAB].sh_offset, symbol_names.data, symbol_names.length);
  memcpy(file + sections[SECTION_SHSTRTAB].sh_offset, section_names.data, section_names.length);
  memcpy(file + table_offset, sections, sizeof sections);
  *out = (Text){.context = c, .data = file, .length = total, .capacity = total};
}

bool backend_write_object(Context *c, const Module *m, const char *path, const char *symbol_prefix) {
  const char *prefix = embed_prefix(c, m, symbol_prefix);
  Text bytes, object;
  if (!prefix || !backend_cubin_bytes(c, m, &bytes)) return false;
  build_object(c, prefix, &bytes, &object);
  return write_file_atomically(c, path, object.data, object.length);
}
