// What `fttrain data` tells: the numbers of a run's data, what is strange about them, and some of
// the examples; as a text, as a page and as JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/formats/dataset.h"
#include "data/packing/statistics.h"
#include "launch/report/shown_example.h"

namespace fttrain {

struct DataWarning {
  std::string kind;  // a word for programs: "open_ends"
  std::string text;
};

struct DataReport {
  std::string model_path;
  std::string chat_template;  // its name; empty where none is used
  std::vector<DatasetReport> files;
  RowOptions rows;
  StepShape step;
  DatasetStatistics statistics;            // of what is learnt
  std::optional<DatasetSummary> held_out;  // of what is evaluated
  int64_t steps = 0;                       // of the run
  double epochs = 0.0;                     // that these are
  int64_t last_step_rows = 0;              // of the run's last step
  std::vector<DataWarning> warnings;
  std::vector<ShownExample> examples;
};

// What a look at the numbers should not miss, worst first. `notes` are of tokenizer and template,
// `pad_is_eos` whether padding and the end of a text are one token.
std::vector<DataWarning> WarningsOf(const DatasetStatistics& statistics,
                                    absl::Span<const DatasetReport> files,
                                    const ExampleList& examples,
                                    absl::Span<const std::string> notes, bool pad_is_eos);

enum class LearntAs { kMarks, kColor };  // [[...]], or colours of a terminal

struct TextForm {
  LearntAs learnt = LearntAs::kMarks;
  bool ids = false;  // a token a line, with its id
};

// Ends without a newline.
std::string DataText(const DataReport& report, const TextForm& form);
// One self-contained page without scripts, light and dark.
std::string DataPage(const DataReport& report);
// The statistics and the warnings, without the examples.
std::string DataJson(const DataReport& report);

// For the text and the page: "cut", "4 examples to 2,048 tokens, ...", in the order of reading.
struct DataFact {
  std::string name, text;
};
std::vector<DataFact> FactsOf(const DataReport& report);
// "train.jsonl:12, 40 tokens, 12 learnt".
std::string Headline(const ShownExample& example);
// "cut here: 3 tokens left out"; empty where nothing is.
std::string CutHere(const ShownExample& example);

}  // namespace fttrain
