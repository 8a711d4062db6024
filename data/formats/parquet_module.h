// The face of the library that reads Parquet files (parquet_module.cc): C, so that the program does
// not depend on Arrow and its C++ library.
#pragma once

#include <stddef.h>

extern "C" {

struct FttrainParquet {
  int version;
  // A file; null and *error, which lives until the next call of the thread, where it cannot be
  // read.
  void* (*open)(const char* path, const char** error);
  // The next row as the text of a JSON object, which lives until the next call: 1; 0 behind the
  // last; -1 and *error.
  int (*next)(void* file, const char** text, size_t* size, const char** error);
  void (*close)(void* file);
};

enum { kFttrainParquetVersion = 1 };

// Of the library, by this name.
const FttrainParquet* fttrain_parquet();
}
