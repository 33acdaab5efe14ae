# Read by cpack itself.  CPackDeb would put one summary before all packages' own.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
