# What `cmake --install` puts in place: programs, libraries, headers, a CMake package and a pkg-config file.
include(CMakePackageConfigHelpers)
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/apnn)

install(TARGETS apnn apnn-shared EXPORT apnn-targets)
install(TARGETS apnn-run)
if(TARGET apnnc)
  install(TARGETS apnnc EXPORT apnn-targets)
endif()
install(FILES apnn.h apnn_file.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

install(EXPORT apnn-targets NAMESPACE apnn:: DESTINATION ${package_folder})
configure_package_config_file(cmake/apnn-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/apnn-config.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/apnn-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/apnn-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/apnn-config-version.cmake
              cmake/apnn-add-network.cmake DESTINATION ${package_folder})

file(RELATIVE_PATH prefix_from_package ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/apnn.pc.in ${CMAKE_CURRENT_BINARY_DIR}/apnn.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/apnn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
