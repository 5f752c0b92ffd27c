/* empty.c - stands in for a folder that has no sources. */
typedef int wdb_empty_translation_unit;
