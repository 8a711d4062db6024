// The system calls under RealFileSystem, one virtual each, so that a test can let any of them fail
// as the kernel would (interrupted, short, full). Only file_system.cc and tests use it.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace fttrain {

// Each returns what the call of that name returns: below zero, and errno, if it failed.
class SystemCalls {
 public:
  virtual ~SystemCalls() = default;

  virtual int Open(const char* path, int flags, mode_t mode);
  virtual int Reserve(int fd, int64_t size_bytes);  // fallocate; the file's size stays
  virtual ssize_t Write(int fd, const void* data, size_t size_bytes);
  virtual ssize_t Read(int fd, void* destination, size_t size_bytes, int64_t offset);  // pread
  virtual int Sync(int fd);
  virtual int Close(int fd);
  virtual int StatOpen(int fd, struct stat* info);                // fstat
  virtual int StatEntry(const char* path, struct stat* info);     // lstat
  virtual int MakeFolder(const char* path);                       // mkdir
  virtual int RenameNoReplace(const char* from, const char* to);  // renameat2
  virtual int Rename(const char* from, const char* to);
  virtual int RemoveFile(const char* path);    // unlink
  virtual int RemoveFolder(const char* path);  // rmdir
  // opendir, readdir to the end and closedir; names without "." and "..".
  virtual int List(const char* path, std::vector<std::string>* names);
};

}  // namespace fttrain
