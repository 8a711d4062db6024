// Where a JSON value ends in a file, found without judging or holding it: by its brackets.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/formats/bytes.h"

namespace fttrain {

inline constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// JSON's white space (and a byte order mark, which stands at most at a file's start) is done with.
void SkipSpace(ByteReader* in);

enum class Scanned {
  kValue,    // it is done with, and in *out
  kTooLong,  // it is done with; *out has the first of its bytes
  kCut,      // the file ends inside it
  kBroken,   // no value begins here, or a line ends inside a string: no telling where it ends
};

// The value that begins at the next byte. At most `most` bytes go to *out, which may be null.
Scanned ScanValue(ByteReader* in, size_t most, std::string* out);

// The key that begins at the next byte, and the ":" behind it; nullopt where none stands there.
std::optional<std::string> ScanKey(ByteReader* in);

// A key of an object, and whether its value is a list that begins with an object or a list.
struct Member {
  std::string key;
  bool rows = false;
};

// What a file that begins with "{" begins with.
struct FirstObject {
  std::vector<Member> members;
  bool alone = false;  // nothing follows it
  int64_t lines = 0;   // LFs inside it
};

// nullopt where the file does not begin with an object that ends.
std::optional<FirstObject> ScanFirstObject(ByteReader* in);

}  // namespace fttrain
