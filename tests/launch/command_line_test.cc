#include "launch/command_line.h"

#include <gmock/gmock.h>

#include "launch/exit_code.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<CommandLine> Parse(std::vector<const char*> words) {
  words.insert(words.begin(), "fttrain");
  return ParseCommandLine(static_cast<int>(words.size()), words.data());
}

TEST(CommandLine, WithoutACommandTrains) {
  const auto line = Parse({"--config=run.yaml"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->command, "train");
  EXPECT_EQ(line->Get("config"), "run.yaml");
}

TEST(CommandLine, TakesValuesWithAndWithoutAnEqualsSign) {
  const auto line =
      Parse({"train", "--config", "run.yaml", "--set", "adapter.r=8", "--set=train.seed=7"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->Get("config"), "run.yaml");
  EXPECT_THAT(line->All("set"), ElementsAre("adapter.r=8", "train.seed=7"));
}

TEST(CommandLine, ASwitchTakesNoWord) {
  const auto line = Parse({"train", "--print-config", "--config=a.yaml"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_TRUE(line->Has("print-config"));
  EXPECT_EQ(line->Get("config"), "a.yaml");
}

TEST(CommandLine, TheLastValueCounts) {
  const auto line = Parse({"generate", "--prompt=a", "--prompt=b = c"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->Get("prompt"), "b = c");
  EXPECT_EQ(line->Get("seed", "0"), "0");
}

TEST(CommandLine, HelpIsACommandAndAFlag) {
  EXPECT_EQ(Parse({"--help"})->command, "help");
  EXPECT_EQ(Parse({"help"})->command, "help");
  EXPECT_EQ(Parse({"train", "--help"})->command, "help");
  EXPECT_EQ(Parse({"generate", "--prompt=a", "-h"})->command, "help");
  EXPECT_THAT(Usage(), HasSubstr("generate"));
}

TEST(CommandLine, ErrorsNameTheWordAndTheNearestKnownOne) {
  const struct {
    std::vector<const char*> words;
    const char* expected;
  } cases[] = {
      {{"trian"}, "unknown command 'trian', did you mean 'train'?"},
      {{"train", "--confg=x"}, "unknown flag '--confg' of 'train', did you mean '--config'?"},
      {{"generate", "--promt=x"}, "did you mean '--prompt'?"},
      {{"train", "--config"}, "flag '--config' needs a value"},
      {{"train", "--config="}, "flag '--config' needs a value"},
      {{"train", "--config", ""}, "flag '--config' needs a value"},
      {{"train", "--print-config=false"}, "flag '--print-config' takes no value"},
      {{"train", "run.yaml"}, "unexpected word 'run.yaml'"},
      {{"train", "--"}, "unexpected word '--'"},
      {{"logits", "--prompt=x"}, "unknown flag '--prompt' of 'logits'"},
  };
  for (const auto& c : cases) {
    const auto line = Parse(c.words);
    ASSERT_FALSE(line.ok()) << c.expected;
    EXPECT_EQ(ExitCode(line.status()), kExitUsage);
    EXPECT_THAT(std::string(line.status().message()), HasSubstr(c.expected));
  }
}

TEST(ExitCode, OfWhatAReaderRefusesIsThatOfABadFile) {
  for (const absl::Status& refused : {absl::InvalidArgumentError("m/config.json: x"),
                                      absl::UnimplementedError("m/config.json: x"),
                                      absl::FailedPreconditionError("m/config.json: x")}) {
    EXPECT_EQ(ExitCode(FromFile(refused)), kExitData);
    EXPECT_EQ(FromFile(refused).message(), "m/config.json: x");
    EXPECT_EQ(ExitCode(FromFile(absl::StatusOr<int>(refused)).status()), kExitData);
  }
  EXPECT_EQ(ExitCode(FromFile(absl::NotFoundError(""))), kExitNoInput);
  EXPECT_EQ(ExitCode(FromFile(absl::PermissionDeniedError(""))), kExitPermission);
  EXPECT_TRUE(FromFile(absl::OkStatus()).ok());
  EXPECT_EQ(*FromFile(absl::StatusOr<int>(3)), 3);
}

TEST(ExitCode, TellsKindsOfFailureApart) {
  EXPECT_EQ(ExitCode(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCode(absl::InvalidArgumentError("")), 64);
  EXPECT_EQ(ExitCode(absl::DataLossError("")), 65);
  EXPECT_EQ(ExitCode(absl::NotFoundError("")), 66);
  EXPECT_EQ(ExitCode(absl::InternalError("")), 70);
  EXPECT_EQ(ExitCode(absl::ResourceExhaustedError("")), 74);
  EXPECT_EQ(ExitCode(absl::PermissionDeniedError("")), 77);
  EXPECT_EQ(ExitCode(absl::AbortedError("")), 80);
}

}  // namespace
}  // namespace fttrain
