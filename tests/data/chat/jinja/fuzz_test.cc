// Whatever a template says, it is rendered or refused, soon. FTTRAIN_FUZZ_TEMPLATES sets how many
// are tried (1000000 takes some minutes), FTTRAIN_FUZZ_SEED where they begin.
#include <gmock/gmock.h>

#include <cstdlib>
#include <ctime>

#include "data/chat/jinja/template.h"
#include "data/text/unicode.h"
#include "tests/data/chat/jinja/random_template.h"

namespace fttrain::jinja {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t absent) {
  const char* text = std::getenv(name);
  return text == nullptr ? absent : std::strtoull(text, nullptr, 10);
}

const std::map<std::string, std::string>& Variables() {
  static const std::map<std::string, std::string> variables = {
      {"messages", R"([{"role": "user", "content": "Hi 👋"}, {"a": [1, 2.5, null, {"b": "c"}]}])"},
      {"n", "7"},
      {"x", R"({"a": "b", "c": [true, "d"]})"}};
  return variables;
}

TEST(JinjaFuzz, EveryTemplateIsRenderedOrRefusedInBoundedTime) {
  const uint64_t count = FromEnvironment("FTTRAIN_FUZZ_TEMPLATES", 5000);
  const uint64_t seed = FromEnvironment("FTTRAIN_FUZZ_SEED", 1);
  RandomTemplates templates(seed);
  Limits limits;
  limits.steps = 20000;
  limits.bytes = 1 << 22;
  limits.output = 1 << 20;
  uint64_t rendered = 0;
  double slowest = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string source = templates.Next();
    const std::clock_t start = std::clock();  // of this program: others may have the processor
    const auto parsed = Template::Parse(source);
    if (parsed.ok()) {
      const auto result = parsed->Render(Variables(), std::tm{}, limits);
      rendered += result.ok() ? 1 : 0;
      if (result.ok()) {
        ASSERT_EQ(FindInvalidUtf8(result->text), std::string::npos) << source;
        for (const auto& span : result->generation) ASSERT_LE(span.begin, span.end);
      } else {
        ASSERT_FALSE(result.status().message().empty()) << source;
      }
    }
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    slowest = std::max(slowest, seconds);
    ASSERT_LT(seconds, 5) << source;
  }
  RecordProperty("rendered", static_cast<int>(rendered));
  EXPECT_GT(rendered, count / 20);  // not only refusals
  std::printf("%lu of %lu rendered, the slowest took %.3f s\n",
              static_cast<unsigned long>(rendered), static_cast<unsigned long>(count), slowest);
}

}  // namespace
}  // namespace fttrain::jinja
