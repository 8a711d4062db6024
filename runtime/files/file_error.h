// What a file call that failed is to the caller: one vocabulary for all that reads and writes.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace fttrain {

std::string FolderOf(const std::string& path);  // "." of a plain name

// "cannot WHAT PATH: reason". NotFound where the path leads nowhere (a part of it may be a file);
// InvalidArgument where it leads to what cannot be read as a file: a link to itself, a socket;
// PermissionDenied; Unavailable for every other errno, which a later try may not meet.
absl::Status FailedRead(int error, const char* what, const std::string& path);

// "cannot WHAT PATH: reason". PermissionDenied; ResourceExhausted, with the bytes to go (0: not
// known) and those free, for a full disk, a quota and a limit on the size of files; Unavailable for
// every other errno: what failed is writing, a full disk or no such place.
absl::Status FailedWrite(int error, const char* what, const std::string& path, int64_t bytes_to_go);

}  // namespace fttrain
