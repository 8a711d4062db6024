#include "runtime/memory/nameless_file.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(NamelessFile, HasZerosAndThenWhatWasWrittenAndNoName) {
  const TempFolder folder;
  NamelessFile file(folder.path(), 100);
  EXPECT_EQ(file.bytes(), 100);
  std::string bytes(100, 'x');
  file.Read(0, 100, bytes.data());
  EXPECT_EQ(bytes, std::string(100, '\0'));
  file.Write(90, 10, "0123456789");
  file.Read(88, 12, bytes.data());
  EXPECT_EQ(bytes.substr(0, 12), std::string("\0\0", 2) + "0123456789");
  EXPECT_EQ(folder.FileCount(), 0u);
}

TEST(NamelessFile, ThatIsShorterThanItWasIsAnErrorWithFolderAndBytes) {
  const TempFolder folder;
  NamelessFile file(folder.path(), 100);
  ASSERT_EQ(ftruncate(file.descriptor(), 50), 0);
  char bytes[100];
  file.Read(0, 50, bytes);
  EXPECT_THAT([&] { file.Read(20, 40, bytes); },
              ThrowsMessage<NamelessFileError>(
                  HasSubstr("cannot read 40 bytes from 20 of a file of 100 bytes in " +
                            folder.path() + ": it has become shorter")));
}

TEST(NamelessFile, ThatCannotBeMadeIsAnErrorWithFolderAndBytes) {
  const TempFolder folder;
  EXPECT_THAT([] { NamelessFile("/no/such/folder", 7); },
              ThrowsMessage<NamelessFileError>(
                  HasSubstr("cannot create a file of 7 bytes in /no/such/folder: No such file")));
  EXPECT_THAT([&] { NamelessFile(folder.path(), int64_t{1} << 62); },
              ThrowsMessage<NamelessFileError>(HasSubstr("cannot allocate a file of")));
  EXPECT_THAT([] { NamelessFile::AsTensor("/no/such/folder", 7); },
              ThrowsMessage<NamelessFileError>(HasSubstr("/no/such/folder: No such file")));
}

}  // namespace
}  // namespace fttrain
