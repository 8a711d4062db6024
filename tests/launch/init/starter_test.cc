#include "launch/init/starter.h"

#include <gmock/gmock.h>

#include "configs/load_config.h"
#include "configs/validate_config.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Starter Plain() {
  Starter starter;
  starter.model = "models/m";
  starter.method = "qlora";
  starter.data = "train.jsonl";
  starter.format = "messages";
  starter.format_why = "rows have 'messages'";
  starter.chat_template = "auto";
  starter.output_dir = "runs/m-qlora";
  starter.layout_why = "one rank";
  return starter;
}

config::RunConfig Loaded(const Starter& starter) {
  const auto loaded = config::ParseRunConfig(StarterYaml(starter), "run.yaml", {});
  EXPECT_TRUE(loaded.ok()) << loaded.status() << StarterYaml(starter);
  EXPECT_TRUE(config::Validate(*loaded, starter.ranks).ok());
  return loaded->config;
}

TEST(Starter, LoadsAsTheConfigItSays) {
  for (const char* method : {"lora", "qlora", "none"}) {
    Starter starter = Plain();
    starter.method = method;
    const config::RunConfig run = Loaded(starter);
    EXPECT_EQ(run.model().path(), "models/m");
    EXPECT_EQ(run.data().train(0).path(), "train.jsonl");
    EXPECT_EQ(run.train().gradient_accumulation_steps(), 16);
    EXPECT_EQ(run.output_dir(), "runs/m-qlora");
  }
}

TEST(Starter, PathsThatYamlWouldReadOtherwiseAreQuoted) {
  Starter starter = Plain();
  starter.data = "my data: #1.jsonl";
  starter.model = "7b";
  EXPECT_EQ(Loaded(starter).data().train(0).path(), "my data: #1.jsonl");
  EXPECT_EQ(Loaded(starter).model().path(), "7b");
}

TEST(Starter, KeysOfTheLayoutStandInTheirSections) {
  Starter starter = Plain();
  starter.ranks = 2;
  starter.layout = {{"train.gradient_accumulation_steps", "8"},
                    {"parallel.pipeline", "2"},
                    {"memory.embedding", "host"},
                    {"optimizer.state", "int8"}};
  const std::string text = StarterYaml(starter);
  EXPECT_THAT(text, HasSubstr("#   mpirun -np 2 fttrain train run.yaml"));
  EXPECT_THAT(text, HasSubstr("parallel:  {pipeline: 2}\nmemory:    {embedding: host}\n"));
  const config::RunConfig run = Loaded(starter);
  EXPECT_EQ(run.train().gradient_accumulation_steps(), 8);
  EXPECT_EQ(run.optimizer().state(), config::OPTIMIZER_STATE_INT8);
  EXPECT_THAT(StarterYaml(Plain()), Not(HasSubstr("mpirun")));
}

TEST(Starter, ReasonsAreCommentsOfOneLine) {
  Starter starter = Plain();
  starter.format_why = "rows have\nmodel: x";
  EXPECT_THAT(StarterYaml(starter), HasSubstr("# rows have model: x\n"));
  Loaded(starter);
}

}  // namespace
}  // namespace fttrain
