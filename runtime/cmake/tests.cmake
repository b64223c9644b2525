# Tests of libapnn that need more than one source file: the mock driver, a failing allocator, the tools, the example of
# README.md and the installed package. tests/CMakeLists.txt adds the rest.
set(mock_folder ${PROJECT_SOURCE_DIR}/tests/unit/runtime_mock)
if(NOT EXISTS ${mock_folder}/driver.c)
  return()
endif()

add_library(apnn-mock-driver SHARED ${mock_folder}/driver.c)
target_link_libraries(apnn-mock-driver PRIVATE Threads::Threads)
set_target_properties(apnn-mock-driver PROPERTIES OUTPUT_NAME cuda SUFFIX .so.1
                                                  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib/mock)

find_library(cmocka_library cmocka)
find_path(cmocka_include cmocka.h)
if(cmocka_library AND cmocka_include)
  add_executable(unit_runtime_allocator ${mock_folder}/allocator.c)
  target_include_directories(unit_runtime_allocator PRIVATE ${cmocka_include} ${PROJECT_SOURCE_DIR}
                                                            ${PROJECT_SOURCE_DIR}/tests/unit)
  target_link_libraries(unit_runtime_allocator PRIVATE apnn ${cmocka_library})
  target_link_options(unit_runtime_allocator PRIVATE LINKER:--wrap=malloc LINKER:--wrap=calloc)
  add_dependencies(unit_runtime_allocator apnn-mock-driver)
  add_test(NAME unit.runtime_allocator COMMAND unit_runtime_allocator)
  set_tests_properties(unit.runtime_allocator PROPERTIES LABELS unit TIMEOUT 300)
endif()

# The program that README.md shows is compiled, so that it stays right.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS README.md)
file(READ README.md readme)
string(REGEX MATCH "```c\n([^`]*)```" block "${readme}")
file(CONFIGURE OUTPUT readme_example.c CONTENT "${CMAKE_MATCH_1}" @ONLY)
add_executable(apnn-readme-example ${CMAKE_CURRENT_BINARY_DIR}/readme_example.c)
target_link_libraries(apnn-readme-example PRIVATE apnn-shared)
