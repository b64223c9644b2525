# Compile a network at build time and link it into a target:
#
#     apnn_add_network(TARGET SOURCE [PREFIX NAME] [DEPENDS FILE...] [OPTIONS OPTION...])
#
# TARGET    an executable or library; it is linked to apnn::apnn
# SOURCE    net.apnn, relative to the current folder
# PREFIX    the symbols are NAME_data and NAME_size, the header is NAME.h; default: the source's name without .apnn
# DEPENDS   parameter files: the network is compiled again when one of them changes
# OPTIONS   passed to apnnc, for example --target sm_90a --batch 8
function(apnn_add_network target source)
  cmake_parse_arguments(PARSE_ARGV 2 network "" "PREFIX" "DEPENDS;OPTIONS")
  if(network_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "apnn_add_network: unknown arguments ${network_UNPARSED_ARGUMENTS}")
  endif()
  get_filename_component(source ${source} ABSOLUTE)
  if(NOT network_PREFIX)
    get_filename_component(network_PREFIX ${source} NAME_WE)
  endif()
  set(depends ${source})
  foreach(file ${network_DEPENDS})
    get_filename_component(file ${file} ABSOLUTE)
    list(APPEND depends ${file})
  endforeach()
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/${target}.networks)
  set(object ${folder}/${network_PREFIX}.o)
  set(header ${folder}/${network_PREFIX}.h)
  file(MAKE_DIRECTORY ${folder})
  add_custom_command(
    OUTPUT ${object} ${header}
    COMMAND apnn::apnnc ${source} -o ${object} -o ${header} --symbol-prefix ${network_PREFIX} ${network_OPTIONS}
    DEPENDS ${depends} apnn::apnnc
    COMMENT "Compiling network ${network_PREFIX}"
    VERBATIM)
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  target_sources(${target} PRIVATE ${object} ${header})
  target_include_directories(${target} PRIVATE ${folder})
  target_link_libraries(${target} PRIVATE apnn::apnn)
endfunction()
