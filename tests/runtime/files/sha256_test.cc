#include "runtime/files/sha256.h"

#include <gtest/gtest.h>

#include <string>

#include "runtime/files/file_system.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

// FIPS 180-2, appendix B.
TEST(Sha256, OfTheStandardsExamples) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, OfPiecesAndOfAFileIsThatOfTheWhole) {
  std::string bytes;
  for (int i = 0; i < (9 << 20); ++i) bytes.push_back(static_cast<char>(i * 2654435761u >> 24));
  Sha256 hash;
  for (size_t at = 0, step = 1; at < bytes.size(); at += step, step = step * 3 % 65521) {
    step = std::min(step, bytes.size() - at);
    hash.Add(bytes.data() + at, static_cast<int64_t>(step));
  }
  const std::string want = Sha256Hex(bytes);
  EXPECT_EQ(hash.Hex(), want);
  const TempFolder folder;
  const std::string path = folder.Write("file", bytes);
  const int64_t size = static_cast<int64_t>(bytes.size());
  EXPECT_EQ(Sha256OfFile(RealFileSystem(), path, size).value(), want);
  EXPECT_THAT(Sha256OfFile(RealFileSystem(), path, size + 1),
              IsError(absl::StatusCode::kDataLoss, path));
}

}  // namespace
}  // namespace fttrain
