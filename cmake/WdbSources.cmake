# WdbSources.cmake - finds the sources by folder.

set(WDB_CORE_LAYERS base env log store type db)
set(WDB_SERVER_LAYERS raft resp admin cmd net proxy server)

# While a layer does not compile, the ones below it can be worked on with
# -DWDB_LAYERS="base;env;log".
set(WDB_LAYERS "" CACHE STRING "Build only these layers (empty: all)")

# wdb_layer_sources(VARIABLE LAYER...): the .c files of the layers. A library
# needs at least one source, so folders without any yield cmake/empty.c.
function(wdb_layer_sources VARIABLE)
  set(FOUND)
  foreach(LAYER ${ARGN})
    if(WDB_LAYERS AND NOT LAYER IN_LIST WDB_LAYERS)
      continue()
    endif()
    file(GLOB FILES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${LAYER}/*.c)
    list(APPEND FOUND ${FILES})
  endforeach()
  if(NOT FOUND)
    set(FOUND ${CMAKE_SOURCE_DIR}/cmake/empty.c)
  endif()
  set(${VARIABLE} ${FOUND} PARENT_SCOPE)
endfunction()

# wdb_glob_sources(VARIABLE PATTERN...): the same for patterns of files.
function(wdb_glob_sources VARIABLE)
  file(GLOB FOUND CONFIGURE_DEPENDS ${ARGN})
  if(NOT FOUND)
    set(FOUND ${CMAKE_SOURCE_DIR}/cmake/empty.c)
  endif()
  set(${VARIABLE} ${FOUND} PARENT_SCOPE)
endfunction()
