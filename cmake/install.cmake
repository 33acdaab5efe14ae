install(TARGETS aios EXPORT aios-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development)
install(DIRECTORY include/aios DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development FILES_MATCHING PATTERN "*.h" PATTERN "*.def")
install(EXPORT aios-targets NAMESPACE aios:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/aios COMPONENT development)
configure_package_config_file(cmake/aiosConfig.cmake.in ${CMAKE_BINARY_DIR}/aiosConfig.cmake INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/aios)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/aiosConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/aiosConfig.cmake ${CMAKE_BINARY_DIR}/aiosConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/aios COMPONENT development)

# An absolute CMAKE_INSTALL_LIBDIR or _INCLUDEDIR is used as it is, a relative one stands below the prefix.
foreach(kind LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${kind}}")
    set(AIOS_PC_${kind} "${CMAKE_INSTALL_${kind}}")
  else()
    set(AIOS_PC_${kind} "\${prefix}/${CMAKE_INSTALL_${kind}}")
  endif()
endforeach()
configure_file(pkgconfig/libaios.pc.in ${CMAKE_BINARY_DIR}/libaios.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/libaios.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
