#include "launch/as_started.h"
#include "launch/command_line.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "launch/command_table.h"
#include "launch/exit_code.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::StatusOr<CommandLine> Parse(std::vector<const char*> words) {
  words.insert(words.begin(), "fttrain");
  return ParseCommandLine(static_cast<int>(words.size()), words.data());
}

TEST(CommandLine, WithoutACommandTrains) {
  for (const std::vector<const char*>& words : std::vector<std::vector<const char*>>{
           {"--config=run.yaml"}, {"run.yaml"}, {"train", "run.yaml"}}) {
    const auto line = Parse(words).value();
    EXPECT_EQ(line.command, "train");
    EXPECT_EQ(line.Get("config"), "run.yaml");
  }
  EXPECT_EQ(Parse({})->command, "train");
  EXPECT_EQ(Parse({"adapter.r=4"})->command, "train");
}

TEST(CommandLine, AWordThatNamesAFileOfYamlIsTheConfig) {
  EXPECT_EQ(Parse({"train", "--set", "adapter.r=8", "a/b.yml"})->Get("config"), "a/b.yml");
  EXPECT_EQ(Parse({"verify", "run.json", "--steps=2"})->Get("config"), "run.json");
  EXPECT_EQ(Parse({"generate", "run.yaml", "--prompt=a"})->Get("config"), "run.yaml");
}

TEST(CommandLine, TakesValuesWithAndWithoutAnEqualsSign) {
  const auto line =
      Parse({"train", "--config", "run.yaml", "--set", "adapter.r=8", "--set=train.seed=7"})
          .value();
  EXPECT_EQ(line.Get("config"), "run.yaml");
  EXPECT_THAT(line.All("set"), ElementsAre("adapter.r=8", "train.seed=7"));
}

TEST(CommandLine, OverridesKeepTheirOrderHoweverTheyAreWritten) {
  const auto line = Parse({"train", "adapter.r=4", "--set=adapter.r=8", "run.yaml",
                           "--adapter.r=16", "--data.train.0.path=a-b=c", "r=4"})
                        .value();
  EXPECT_THAT(line.All("set"), ElementsAre("adapter.r=4", "adapter.r=8", "adapter.r=16",
                                           "data.train.0.path=a-b=c", "r=4"));
  EXPECT_EQ(line.Get("config"), "run.yaml");
}

TEST(CommandLine, AKeyOfTheConfigsTopLevelIsAnOverrideToo) {
  EXPECT_THAT(Parse({"train", "--output-dir=runs/a"})->All("set"),
              ElementsAre("output_dir=runs/a"));
  // The config's checks say how to write the section.
  EXPECT_THAT(Parse({"train", "--model=m"})->All("set"), ElementsAre("model=m"));
  EXPECT_THAT(Parse({"generate", "--model=m"})->All("set"), IsEmpty());
}

TEST(CommandLine, DashesAreUnderscoresInNames) {
  const auto line =
      Parse({"generate", "--max-new-tokens=3", "--train.max-steps=5", "--prompt=a-b"}).value();
  EXPECT_EQ(line.Get("max_new_tokens"), "3");
  EXPECT_EQ(line.Get("prompt"), "a-b");
  EXPECT_THAT(line.All("set"), ElementsAre("train.max_steps=5"));
  EXPECT_TRUE(Parse({"train", "--print-config"})->Has("print_config"));
}

TEST(CommandLine, AFlagOfOneLetterMayHaveOneDash) {
  for (const std::vector<const char*>& words : std::vector<std::vector<const char*>>{
           {"data", "run.yaml", "-n", "5"}, {"data", "-n5"}, {"data", "-n=5"}, {"data", "--n=5"}}) {
    EXPECT_EQ(Parse(words)->Get("n"), "5");
  }
  EXPECT_FALSE(Parse({"data", "-n"}).ok());
  EXPECT_FALSE(Parse({"train", "-n", "5"}).ok());
}

TEST(CommandLine, ASwitchTakesNoWord) {
  const auto line = Parse({"train", "--print_config", "--config=a.yaml"}).value();
  EXPECT_TRUE(line.Has("print_config"));
  EXPECT_EQ(line.Get("config"), "a.yaml");
}

TEST(CommandLine, TheLastValueCountsAndElseTheTablesDefault) {
  const auto line = Parse({"generate", "--prompt=a", "--prompt=b = c"}).value();
  EXPECT_EQ(line.Get("prompt"), "b = c");
  EXPECT_EQ(line.Get("max_new_tokens"), "64");
  EXPECT_FALSE(line.Has("max_new_tokens"));
  EXPECT_EQ(line.Get("adapter"), "");
}

TEST(CommandLine, NumbersAreReadWholeAndInTheirRange) {
  const auto seed = [](const char* flag) {
    return Parse({"generate", flag})
        ->Number<int64_t>(
            "seed", [](int64_t n) { return n != 13; }, "any whole number but 13");
  };
  EXPECT_EQ(*seed("--raw"), 0);
  EXPECT_EQ(*seed("--seed=-5"), -5);
  for (const char* flag : {"--seed=13", "--seed=1.5", "--seed=1x", "--seed=9223372036854775808"}) {
    EXPECT_EQ(seed(flag).status(),
              absl::InvalidArgumentError(absl::StrCat(flag, ": must be any whole number but 13")));
  }
  const auto temperature = [](const char* flag) {
    return Parse({"generate", flag})
        ->Number<double>(
            "temperature", [](double t) { return t >= 0; }, "a number of at least 0");
  };
  EXPECT_EQ(*temperature("--temperature=0.5"), 0.5);
  for (const char* flag : {"--temperature=-1", "--temperature=nan", "--temperature=warm"}) {
    EXPECT_EQ(temperature(flag).status(),
              absl::InvalidArgumentError(absl::StrCat(flag, ": must be a number of at least 0")));
  }
}

TEST(CommandLine, HelpAndVersionAreCommandsAndFlags) {
  for (const char* word : {"--help", "-h", "help"}) {
    EXPECT_EQ(Parse({word})->command, "help");
    EXPECT_EQ(Parse({word})->topic, "");
  }
  for (const std::vector<const char*>& words : std::vector<std::vector<const char*>>{
           {"help", "generate"}, {"generate", "--prompt=a", "-h"}, {"generate", "--help"}}) {
    EXPECT_EQ(Parse(words)->command, "help");
    EXPECT_EQ(Parse(words)->topic, "generate");
  }
  EXPECT_EQ(Parse({"--version"})->command, "version");
}

TEST(CommandLine, HelpListsEveryCommandAndACommandsHelpEveryFlag) {
  for (const Command& command : Commands()) {
    EXPECT_THAT(Usage(""), HasSubstr(absl::StrCat("\n  ", command.name, " ")));
    for (const Flag& flag : command.flags) {
      const bool letter = flag.name[1] == '\0';
      const std::string line =
          absl::StrCat("\n  ", letter ? "-" : "--", flag.name, *flag.value && !letter ? "=" : " ");
      EXPECT_THAT(Usage(command.name), HasSubstr(line));
    }
  }
  EXPECT_THAT(Usage("train"), HasSubstr("example: mpirun -np 2 fttrain train "));
  EXPECT_THAT(Usage("generate"), ContainsRegex("--max_new_tokens=N +.*\\(default: 64\\)\n"));
}

TEST(AsStarted, NamesTheProgramInCommandsAlone) {
  const auto said = [](absl::string_view text) { return AsStarted(text, "build/fttrain"); };
  EXPECT_EQ(said("try 'mpirun -np 2 fttrain train x.yaml', or `fttrain help`"),
            "try 'mpirun -np 2 build/fttrain train x.yaml', or `build/fttrain help`");
  EXPECT_EQ(said("fttrain --config=x\nfttrain run.yaml"),
            "build/fttrain --config=x\nbuild/fttrain run.yaml");
  for (const char* prose : {"fttrain train: fine-tune", "a fault of fttrain or of it", "fttrain",
                            "fttrain: error", "build/release/fttrain train", "the fttrain plane"}) {
    EXPECT_EQ(said(prose), prose);
  }
  EXPECT_EQ(AsStarted("fttrain plan", "fttrain"), "fttrain plan");
  EXPECT_EQ(AsStarted("fttrain plan", "my dir/it's"), "'my dir/it'\\''s' plan");
}

// A default or an example that the program would refuse is a lie of the table's.
TEST(CommandTable, ExamplesAreUnderstood) {
  for (const Command& command : Commands()) {
    const std::string words(command.example);
    const size_t begin = words.find("fttrain ");
    ASSERT_NE(begin, std::string::npos) << words;
    const std::vector<std::string> split = absl::StrSplit(words.substr(begin + 8), ' ');
    std::vector<const char*> argv;
    for (const std::string& word : split) argv.push_back(word.c_str());
    const auto line = Parse(argv);
    ASSERT_TRUE(line.ok()) << words << ": " << line.status();
    EXPECT_EQ(line->command, command.name);
  }
}

TEST(CommandLine, ErrorsNameTheWordAndWhatToWrite) {
  const struct {
    std::vector<const char*> words;
    const char* expected;
  } cases[] = {
      {{"trian"}, "unknown command 'trian', did you mean 'train'?"},
      {{"help", "trian"}, "unknown command 'trian', did you mean 'train'?"},
      {{"help", "train", "me"}, "unexpected word 'me' after 'help'"},
      {{"train", "--confg=x"}, "unknown flag '--confg' of 'train', did you mean '--config'?"},
      {{"generate", "--promt=x"}, "did you mean '--prompt'?"},
      {{"train", "--learning-rate=1e-4"},
       "unknown flag '--learning-rate' of 'train': 'learning_rate' is optimizer.learning_rate "
       "here"},
      {{"train", "--config"}, "flag '--config' needs a value"},
      {{"train", "--config="}, "flag '--config' needs a value"},
      {{"train", "--config", ""}, "flag '--config' needs a value"},
      {{"train", "--print-config=false"}, "flag '--print-config' takes no value"},
      {{"train", "--adapter.r", "4"}, "'--adapter.r' has no value: write --adapter.r=VALUE"},
      {{"train", "adapter.r", "4"},
       "unexpected word 'adapter.r' after 'train': write a config as FILE.yaml or --config=FILE, a "
       "key of it as section.key=value, a flag as --name=value"},
      {{"train", "a.yaml", "--config=b.yaml"}, "two configs, 'a.yaml' and 'b.yaml': give one"},
      {{"train", "--"}, "unexpected word '--'"},
      {{"train", "-c", "a.yaml"}, "unexpected word '-c'"},
      {{"quantize", "a.yaml"}, "unexpected word 'a.yaml' after 'quantize': write a flag as "},
      {{"quantize", "model.path=m"}, "unexpected word 'model.path=m' after 'quantize'"},
      {{"quantize", "--model.path=m"}, "unknown flag '--model.path' of 'quantize'"},
      {{"logits", "--prompt=x"}, "unknown flag '--prompt' of 'logits'"},
  };
  for (const auto& c : cases) {
    const auto line = Parse(c.words);
    ASSERT_FALSE(line.ok()) << c.expected;
    EXPECT_EQ(ExitCode(line.status()), kExitUsage);
    EXPECT_THAT(ErrorText(line), HasSubstr(c.expected));
  }
}

TEST(CommandLine, ATildeAtTheBeginningOfAPathIsHome) {
  const char* home = std::getenv("HOME");
  ASSERT_NE(home, nullptr);
  const std::string at_home = std::string(home) + "/x";
  const auto train = Parse({"train", "~/x/run.yaml"});
  EXPECT_EQ(train->Get("config"), at_home + "/run.yaml");
  const auto generate =
      Parse({"generate", "--model=~/x", "--adapter", "~/x", "--prompt=~/x", "model.path=~/x"});
  EXPECT_EQ(generate->Get("model"), at_home);
  EXPECT_EQ(generate->Get("adapter"), at_home);
  EXPECT_EQ(generate->Get("prompt"), "~/x") << "not a path";
  EXPECT_EQ(generate->Get("set"), "model.path=~/x") << "the config's keys are expanded later";
  const auto logits = Parse({"logits", "--input=~/x", "--output=~/x"});
  EXPECT_EQ(logits->Get("input"), at_home);
  EXPECT_EQ(logits->Get("output"), at_home);
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

TEST(ExitCode, ThatAStatusCarriesGoesBeforeThatOfItsKind) {
  const absl::Status locked = WithExitCode(absl::UnavailableError("locked"), kExitCannotCreate);
  EXPECT_EQ(ExitCode(locked), 73);
  EXPECT_EQ(locked.message(), "locked");
  EXPECT_EQ(ExitCode(absl::UnavailableError("")), 74);
  EXPECT_EQ(ExitCode(Unpack(Pack(locked))), 73) << "told to other ranks";
  EXPECT_EQ(ExitCode(FromFile(WithExitCode(absl::InvalidArgumentError(""), kExitRanksDisagree))),
            76);
  EXPECT_EQ(ExitCode(WithExitCode(locked, kExitPreempted)), 75) << "the last one counts";
  absl::Status garbage = absl::DataLossError("");
  garbage.SetPayload(kExitCodePayload, absl::Cord("x"));
  EXPECT_EQ(ExitCode(garbage), 65);
}

}  // namespace
}  // namespace fttrain
