# WdbOptions.cmake - the options of the build, and the flags that follow.
#
# Targets that it makes:
#   wdb_flags        flags and include paths of everything
#   wdb_server_deps  libuv, libraft and libcrypto
#   wdb_malloc       jemalloc, where it is used; linked by programs only, so
#                    that the library leaves the allocator to its user

set(WDB_SANITIZE none CACHE STRING "none, address (with undefined) or thread")
set_property(CACHE WDB_SANITIZE PROPERTY STRINGS none address thread)
option(WDB_WERROR "Warnings are errors" OFF)
option(WDB_TESTS "Build the tests" ON)
option(WDB_FUZZ "Build the fuzz targets (needs clang)" OFF)
option(WDB_LTO "Optimise across files at link time" OFF)
option(WDB_HARDENING "Stack protector, fortified libc calls, relro, PIE" ON)
option(WDB_JEMALLOC "Link programs with jemalloc if it is there" ON)
option(WDB_DEBUG "Compile the costly assertions in" OFF)
option(WDB_MUTATIONS
  "Tests only: rules of the engine can be switched off one at a time" OFF)
option(WDB_SHARED "Build the shared library too" ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
if(NOT WDB_SANITIZE STREQUAL "none")
  set(WDB_SHARED OFF)
  set(WDB_JEMALLOC OFF)
  set(WDB_HARDENING OFF)
endif()

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
set(CMAKE_C_FLAGS_RELEASE "-O3 -g")

include(CheckCCompilerFlag)
include(CheckPIESupported)
check_pie_supported()
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

add_library(wdb_flags INTERFACE)
target_include_directories(wdb_flags INTERFACE
  ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
target_compile_definitions(wdb_flags INTERFACE
  _GNU_SOURCE _FILE_OFFSET_BITS=64 WDB_VERSION="${PROJECT_VERSION}"
  $<$<BOOL:${WDB_DEBUG}>:WDB_DEBUG>
  $<$<BOOL:${WDB_MUTATIONS}>:WDB_MUTATIONS>)
target_compile_options(wdb_flags INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -Wpointer-arith -Wwrite-strings -Wvla -Wformat=2
  $<$<BOOL:${WDB_WERROR}>:-Werror>
  $<$<NOT:$<CONFIG:Release>>:-fno-omit-frame-pointer>
  -fno-strict-aliasing -fno-math-errno)
target_link_libraries(wdb_flags INTERFACE Threads::Threads m)

if(WDB_SANITIZE STREQUAL "address")
  set(SANITIZER -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(WDB_SANITIZE STREQUAL "thread")
  set(SANITIZER -fsanitize=thread)
elseif(NOT WDB_SANITIZE STREQUAL "none")
  message(FATAL_ERROR "WDB_SANITIZE is none, address or thread")
endif()
if(DEFINED SANITIZER)
  target_compile_options(wdb_flags INTERFACE ${SANITIZER})
  target_link_options(wdb_flags INTERFACE ${SANITIZER})
  target_compile_definitions(wdb_flags INTERFACE
    WDB_SANITIZE_$<UPPER_CASE:${WDB_SANITIZE}>)
endif()

if(WDB_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "WDB_FUZZ needs clang")
  endif()
  target_compile_options(wdb_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

if(WDB_HARDENING)
  check_c_compiler_flag(-fcf-protection WDB_HAVE_CF_PROTECTION)
  set(OPTIMISED $<NOT:$<CONFIG:Debug>>)
  # Level 3 needs gcc 12 or newer (or clang 15) and glibc 2.34; elsewhere 2.
  set(CMAKE_REQUIRED_FLAGS "-O2 -Werror")
  check_c_compiler_flag("-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=3"
    WDB_HAVE_FORTIFY_3)
  unset(CMAKE_REQUIRED_FLAGS)
  target_compile_options(wdb_flags INTERFACE
    -fstack-protector-strong
    $<$<BOOL:${WDB_HAVE_CF_PROTECTION}>:-fcf-protection>
    $<${OPTIMISED}:-U_FORTIFY_SOURCE>
    $<${OPTIMISED}:-D_FORTIFY_SOURCE=$<IF:$<BOOL:${WDB_HAVE_FORTIFY_3}>,3,2>>)
  target_link_options(wdb_flags INTERFACE
    -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
endif()

if(WDB_LTO AND NOT CMAKE_C_COMPILER_ID STREQUAL "GNU")
  message(WARNING "WDB_LTO is for gcc; built without")
  set(WDB_LTO OFF)
endif()
if(WDB_LTO)
  # Fat objects: the static libraries stay usable by any compiler, and the
  # many tests are linked the quick way (-fno-lto in test/CMakeLists.txt).
  target_compile_options(wdb_flags INTERFACE -flto=auto -ffat-lto-objects)
  set(CMAKE_AR gcc-ar)
  set(CMAKE_RANLIB gcc-ranlib)
endif()

add_library(wdb_server_deps INTERFACE)
pkg_check_modules(LIBUV REQUIRED IMPORTED_TARGET libuv>=1.44)
target_link_libraries(wdb_server_deps INTERFACE PkgConfig::LIBUV)
pkg_check_modules(LIBRAFT REQUIRED IMPORTED_TARGET raft>=0.22)
target_link_libraries(wdb_server_deps INTERFACE PkgConfig::LIBRAFT)
pkg_check_modules(LIBCRYPTO REQUIRED IMPORTED_TARGET libcrypto>=3.0)
target_link_libraries(wdb_server_deps INTERFACE PkgConfig::LIBCRYPTO)

add_library(wdb_malloc INTERFACE)
if(WDB_JEMALLOC)
  pkg_check_modules(JEMALLOC IMPORTED_TARGET jemalloc)
  if(JEMALLOC_FOUND)
    target_link_libraries(wdb_malloc INTERFACE PkgConfig::JEMALLOC)
    target_compile_definitions(wdb_malloc INTERFACE WDB_HAVE_JEMALLOC)
  endif()
endif()
