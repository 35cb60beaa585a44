# FindCivetWeb: the embedded web server, as a shared library.
#
# Debian's package has a CMake config that wants the server program too; the library and its header
# are all that is used here.
#
# Sets CivetWeb_FOUND, and the target CivetWeb::CivetWeb.
find_path(CivetWeb_INCLUDE_DIR NAMES civetweb.h)
find_library(CivetWeb_LIBRARY NAMES civetweb)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CivetWeb
  REQUIRED_VARS CivetWeb_LIBRARY CivetWeb_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install libcivetweb-dev")

if(CivetWeb_FOUND AND NOT TARGET CivetWeb::CivetWeb)
  add_library(CivetWeb::CivetWeb UNKNOWN IMPORTED)
  set_target_properties(CivetWeb::CivetWeb PROPERTIES
    IMPORTED_LOCATION ${CivetWeb_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${CivetWeb_INCLUDE_DIR})
endif()
mark_as_advanced(CivetWeb_LIBRARY CivetWeb_INCLUDE_DIR)
