#include "configs/unsupported.h"

#include <iterator>

#include "absl/strings/str_cat.h"

namespace fttrain::config {
namespace {

struct Row {
  const char* key;
  bool (*asked)(const RunConfig&);
  const char* what;
};

// One row per missing ability: what implements it deletes its row.
// clang-format off
constexpr Row kMissing[] = {
    {"data.eval", [](const RunConfig& c) { return c.data().eval_size() > 0; }, "evaluation is not implemented; remove it"},
    {"train.eval_steps", [](const RunConfig& c) { return c.train().eval_steps() > 0; }, "evaluation is not implemented; remove it"},
};
// clang-format on

}  // namespace

std::vector<Unsupported> FindUnsupported(const RunConfig& config) {
  std::vector<Unsupported> found;
  for (const Row& row : kMissing) {
    if (row.asked(config)) found.push_back({row.key, absl::StrCat("'", row.key, "': ", row.what)});
  }
  return found;
}

}  // namespace fttrain::config
