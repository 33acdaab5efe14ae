install(TARGETS aios EXPORT aios-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(DIRECTORY include/aios DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
# What an author of a backend needs beside the headers: backends/README.md.
set(AIOS_BACKEND_KIT ${CMAKE_INSTALL_DATADIR}/aios/backend)
install(DIRECTORY lib/kernels DESTINATION ${AIOS_BACKEND_KIT} COMPONENT development FILES_MATCHING PATTERN "*.kc" PATTERN "*.h" PATTERN "*.def")
install(DIRECTORY backends/common backends/template DESTINATION ${AIOS_BACKEND_KIT} COMPONENT development)
install(FILES backends/README.md DESTINATION ${AIOS_BACKEND_KIT} COMPONENT development)
# Configurations in DeepSpeed's layout, for option zero-config.
install(DIRECTORY config DESTINATION ${CMAKE_INSTALL_DATADIR}/aios COMPONENT tools FILES_MATCHING PATTERN "*.json")
install(EXPORT aios-targets NAMESPACE aios:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/aios COMPONENT development)
configure_package_config_file(cmake/aiosConfig.cmake.in ${CMAKE_BINARY_DIR}/aiosConfig.cmake INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/aios
                              PATH_VARS AIOS_BACKEND_KIT)
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
# With a relative libdir the file finds its prefix from where it lies, so `cmake --install --prefix` and a moved tree are right.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  set(AIOS_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
else()
  file(RELATIVE_PATH AIOS_PC_UP "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
  string(REGEX REPLACE "/$" "" AIOS_PC_UP "${AIOS_PC_UP}")
  set(AIOS_PC_PREFIX "\${pcfiledir}/${AIOS_PC_UP}")
endif()
# `pkg-config --static --libs libaios` names what libaios.a leaves to whoever links it; the shared library brings its own.
set(AIOS_PC_PRIVATE "")
if(NOT BUILD_SHARED_LIBS)
  set(AIOS_PC_PRIVATE "Requires.private: jansson libpcre2-8 sqlite3 zlib\nLibs.private: -pthread -ldl -lm\n")
endif()
configure_file(pkgconfig/libaios.pc.in ${CMAKE_BINARY_DIR}/libaios.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/libaios.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
