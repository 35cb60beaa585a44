# FindOpenBLASOpenMP: OpenBLAS built with OpenMP, by its own path.
#
# Every flavour of Debian's OpenBLAS has the same SONAME, and update-alternatives decides which one
# a plain -lopenblas gets: with the pthread flavour installed too, that one. Then two pools of
# threads would fight over the cores. So the library is linked by the path of its folder and that
# folder goes into the program's run path. `perilune doctor` checks at run time what came.
#
# Elsewhere than Debian: -DOpenBLASOpenMP_ROOT=PREFIX, or a system libopenblas that reports OpenMP.
#
# Sets OpenBLASOpenMP_FOUND, OpenBLASOpenMP_LIBRARY_DIR, and the target
# OpenBLASOpenMP::OpenBLASOpenMP.
find_library(OpenBLASOpenMP_LIBRARY NAMES openblas
  PATHS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp NO_DEFAULT_PATH)
if(NOT OpenBLASOpenMP_LIBRARY)
  find_library(OpenBLASOpenMP_LIBRARY NAMES openblaso openblas)
endif()
find_path(OpenBLASOpenMP_INCLUDE_DIR NAMES cblas.h
  HINTS /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}/openblas-openmp
  PATH_SUFFIXES openblas-openmp openblas)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OpenBLASOpenMP
  REQUIRED_VARS OpenBLASOpenMP_LIBRARY OpenBLASOpenMP_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install libopenblas-openmp-dev")

if(OpenBLASOpenMP_FOUND AND NOT TARGET OpenBLASOpenMP::OpenBLASOpenMP)
  get_filename_component(OpenBLASOpenMP_LIBRARY_DIR ${OpenBLASOpenMP_LIBRARY} DIRECTORY)
  add_library(OpenBLASOpenMP::OpenBLASOpenMP UNKNOWN IMPORTED)
  set_target_properties(OpenBLASOpenMP::OpenBLASOpenMP PROPERTIES
    IMPORTED_LOCATION ${OpenBLASOpenMP_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${OpenBLASOpenMP_INCLUDE_DIR})
endif()
mark_as_advanced(OpenBLASOpenMP_LIBRARY OpenBLASOpenMP_INCLUDE_DIR)
