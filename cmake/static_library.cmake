# libaios.a: one object, of which only what the headers name can be seen, as in the shared library.  Without that, names like json_parse
# would meet those of the program that links it.
if(NOT CMAKE_OBJCOPY)
  message(FATAL_ERROR "BUILD_SHARED_LIBS=OFF needs objcopy (binutils), which was not found")
endif()
set(object ${CMAKE_CURRENT_BINARY_DIR}/aios.o)
add_custom_command(OUTPUT ${object}
                   COMMAND ${CMAKE_LINKER} -r -o ${object} $<TARGET_OBJECTS:aios_objects> $<TARGET_OBJECTS:aios_cpu_kernels>
                   COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${object}
                   DEPENDS $<TARGET_OBJECTS:aios_objects> $<TARGET_OBJECTS:aios_cpu_kernels> COMMAND_EXPAND_LISTS
                   COMMENT "Linking aios.o, in which nothing internal can be seen")
add_library(aios STATIC ${object})
# By name, so that aiosConfig.cmake can find them again for whoever links.
target_link_libraries(aios PRIVATE PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::SQLITE ZLIB::ZLIB Threads::Threads ${CMAKE_DL_LIBS} m)
