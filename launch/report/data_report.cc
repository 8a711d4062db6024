#include "launch/report/data_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launch/run/numbers.h"
#include "launch/run/summary.h"
#include "nlohmann/json.hpp"

namespace fttrain {
namespace {

using Json = nlohmann::ordered_json;

// "3 examples (the first: train.jsonl:12)"
std::string Told(const FoundIn& finding, const ExampleList& examples) {
  const std::string source = examples.SourceOf(static_cast<size_t>(finding.first));
  return finding.examples == 1
             ? absl::StrCat("1 example (", source, ")")
             : absl::StrCat(Counted(finding.examples, "example"), " (the first: ", source, ")");
}

std::string ShiftedLabels(const DatasetReport& file) {
  return absl::StrCat(
      Counted(file.shifted_labels, "row"), " of ready-made tokens (the first: ", file.first_shifted,
      ") whose labels are those of the next token: the shift is made here, so the token after it "
      "is learnt");
}

std::string SpecialTexts(const DatasetReport& file) {
  return absl::StrCat(
      Counted(file.special_texts, "row"),
      " with the text of a special token in a message (the "
      "first: ",
      file.first_special_text,
      "): the tokenizer makes that token of it, as transformers does; take it out of the text, or "
      "write it otherwise");
}

Json JsonOf(const DatasetReport& file) {
  return {{"path", file.path},
          {"format", std::string(FormatName(file.format))},
          {"why", file.why},
          {"rows", file.rows},
          {"skipped", file.skipped},
          {"faults", file.faults},
          {"columns_not_used", file.unused},
          {"straddling_tokens", file.straddling},
          {"dropped_reasoning", file.dropped_reasoning},
          {"special_texts", file.special_texts},
          {"shifted_labels", file.shifted_labels},
          {"cut_texts", file.cut_texts},
          {"pieces", file.pieces}};
}

Json LengthsOf(const DatasetStatistics& statistics) {
  Json bins = Json::array();
  for (const LengthBin& bin : statistics.lengths) {
    bins.push_back({{"from", bin.from}, {"to", bin.to}, {"examples", bin.examples}});
  }
  return {{"shortest", statistics.shortest},
          {"median", statistics.median},
          {"longest", statistics.summary.longest},
          {"bins", std::move(bins)}};
}

DataFact CutFact(const DataReport& report) {
  const DatasetSummary& data = report.statistics.summary;
  const std::string limit =
      absl::StrCat("data.sequence_len ", WithCommas(report.rows.sequence_len));
  if (data.truncated == 0) {
    return {"cut", absl::StrCat("nothing: no example is longer than ", limit)};
  }
  const int64_t all = data.tokens + data.cut_tokens + data.dropped_tokens;
  std::string text = absl::StrCat(Counted(data.truncated, "example"), " to ", limit, ": ",
                                  Counted(data.cut_tokens, "token"), " left out (",
                                  Share(data.cut_tokens, all), ")");
  const int64_t answers = report.statistics.cut_targets.examples;
  if (answers > 0) {
    absl::StrAppend(&text, ", in ", Counted(answers, "example"), " some that were to be learnt");
  }
  return {"cut", text};
}

DataFact EpochFact(const DataReport& report) {
  const DatasetStatistics& s = report.statistics;
  std::string text = absl::StrCat(
      Counted(s.summary.rows, "row"), report.rows.packing ? " (packed)" : " (an example each)",
      " = ", Counted(s.steps_per_epoch, "step"), " of ", Counted(s.rows_per_step, "row"));
  if (s.next_epoch_rows > 0 && report.epochs > 1) {  // else no next one fills the step
    absl::StrAppend(&text, "; the last takes ", WithCommas(s.rows_per_step - s.next_epoch_rows),
                    " and ", WithCommas(s.next_epoch_rows), " of the next epoch");
  }
  return {"an epoch", text};
}

// "; the last has the 8 rows left", where the run's epochs end within a step.
std::string LastStep(const DataReport& report) {
  if (report.last_step_rows == report.statistics.rows_per_step) return "";
  return absl::StrCat("; the last has the ", Counted(report.last_step_rows, "row"), " left");
}

}  // namespace

std::vector<DataWarning> WarningsOf(const DatasetStatistics& statistics,
                                    absl::Span<const DatasetReport> files,
                                    const ExampleList& examples,
                                    absl::Span<const std::string> notes, bool pad_is_eos) {
  std::vector<DataWarning> out;
  const auto add = [&](const char* kind, const std::string& text) { out.push_back({kind, text}); };
  const auto found = [&](const char* kind, const FoundIn& finding, const char* what) {
    if (finding.examples > 0) add(kind, absl::StrCat(Told(finding, examples), what));
  };
  int64_t skipped = 0, rows = 0, reasoning = 0, straddling = 0;
  for (const DatasetReport& file : files) {
    skipped += file.skipped;
    rows += file.rows;
    reasoning += file.dropped_reasoning;
    straddling += file.straddling;
  }
  if (skipped > 0) {
    add("skipped_rows",
        absl::StrCat(WithCommas(skipped), " of ", Counted(rows, "row"),
                     " skipped, for they cannot be used (", Share(skipped, rows), ")"));
  }
  for (const DatasetReport& file : files) {
    if (file.shifted_labels > 0) add("shifted_labels", ShiftedLabels(file));
  }
  found("no_target", statistics.without_target, ": nothing is learnt from them");
  found("cut_answers", statistics.cut_targets,
        ": tokens to learn are beyond data.sequence_len, so answers end without an end");
  found("open_ends", statistics.open_ends,
        ": an answer that is learnt does not end with a token that ends a turn or a text, so the "
        "model does not learn to stop");
  found("empty_answers", statistics.empty_answers,
        ": an answer that is learnt is empty, so the model learns to say nothing");
  for (const DatasetReport& file : files) {
    if (file.special_texts > 0) add("special_texts", SpecialTexts(file));
  }
  found("double_bos", statistics.double_bos,
        ": begin with the token of a text's beginning (BOS) twice");
  if (reasoning > 0) {
    add("dropped_reasoning", absl::StrCat(Counted(reasoning, "answer"),
                                          " without their reasoning: the template leaves "
                                          "it out of turns before the last question "
                                          "(data.turns each keeps it)"));
  }
  if (straddling > 0) {
    add("straddling_tokens",
        absl::StrCat(Counted(straddling, "token"), " across the border of an answer: not learnt"));
  }
  found("duplicates", statistics.duplicates, ": the same as an earlier one");
  if (pad_is_eos) {
    add("pad_is_eos",
        "pad_token is eos_token: nothing is padded here and its end is learnt, but programs that "
        "leave padding out of the loss by its id leave out every end");
  }
  for (const std::string& note : notes) add("note", note);
  return out;
}

std::vector<DataFact> FactsOf(const DataReport& report) {
  const DatasetStatistics& s = report.statistics;
  const DatasetSummary& data = s.summary;
  std::vector<DataFact> facts;
  for (const DatasetReport& file : report.files) {
    facts.push_back({"rows", absl::StrJoin(FileLines(file), "\n")});
  }
  if (!report.chat_template.empty()) facts.push_back({"template", report.chat_template});
  facts.push_back(
      {"tokens",
       absl::StrCat(WithCommas(data.tokens), " in ", Counted(data.examples, "example"), "; ",
                    WithCommas(data.targets), " learnt (", Share(data.targets, data.tokens), ")")});
  if (report.held_out) {
    facts.push_back(
        {"held out",
         absl::StrCat(WithCommas(report.held_out->tokens), " tokens in ",
                      Counted(report.held_out->examples, "example"), ", to be evaluated; ",
                      WithCommas(report.held_out->targets), " with a target")});
  }
  facts.push_back(CutFact(report));
  if (data.dropped > 0) {
    facts.push_back({"dropped", absl::StrCat(Counted(data.dropped, "example"), " (",
                                             Counted(data.dropped_tokens, "token"),
                                             "): nothing to learn in them once cut")});
  }
  if (s.duplicates.examples > 0) {
    facts.push_back(
        {"twice", absl::StrCat(Counted(s.duplicates.examples, "example"), " as an earlier one")});
  }
  facts.push_back(
      {"a step", absl::StrFormat("%s = micro batch %d x accumulation %d x dp %d",
                                 Counted(s.rows_per_step, "row"), report.step.micro_batch_size,
                                 report.step.accumulation, report.step.dp_size)});
  facts.push_back(EpochFact(report));
  facts.push_back(
      {"the run", absl::StrFormat("%s = %.4g %s%s", Counted(report.steps, "step"), report.epochs,
                                  report.epochs == 1 ? "epoch" : "epochs", LastStep(report))});
  facts.push_back(
      {"lengths", absl::StrCat(WithCommas(s.shortest), " to ", Counted(data.longest, "token"),
                               ", half of the ", "examples at most ", WithCommas(s.median))});
  return facts;
}

std::string Headline(const ShownExample& example) {
  return absl::StrCat(example.source, ", ", Counted(example.tokens, "token"), ", ",
                      WithCommas(example.learnt), " learnt");
}

std::string CutHere(const ShownExample& example) {
  if (example.cut_tokens == 0) return "";
  return absl::StrCat("cut here: ", Counted(example.cut_tokens, "token"), " left out");
}

std::string DataJson(const DataReport& report) {
  const DatasetStatistics& s = report.statistics;
  const DatasetSummary& data = s.summary;
  Json files = Json::array(), warnings = Json::array();
  for (const DatasetReport& file : report.files) files.push_back(JsonOf(file));
  for (const DataWarning& warning : report.warnings) {
    warnings.push_back({{"kind", warning.kind}, {"text", warning.text}});
  }
  const Json json = {{"model", report.model_path},
                     {"chat_template", report.chat_template},
                     {"files", std::move(files)},
                     {"examples", data.examples},
                     {"tokens", data.tokens},
                     {"learnt_tokens", data.targets},
                     {"held_out_examples", report.held_out ? report.held_out->examples : 0},
                     {"lengths", LengthsOf(s)},
                     {"cut",
                      {{"sequence_len", report.rows.sequence_len},
                       {"examples", data.truncated},
                       {"tokens", data.cut_tokens},
                       {"examples_with_tokens_to_learn", s.cut_targets.examples}}},
                     {"dropped", {{"examples", data.dropped}, {"tokens", data.dropped_tokens}}},
                     {"without_target", s.without_target.examples},
                     {"duplicates", s.duplicates.examples},
                     {"double_bos", s.double_bos.examples},
                     {"open_ends", s.open_ends.examples},
                     {"empty_answers", s.empty_answers.examples},
                     {"rows_per_step", s.rows_per_step},
                     {"rows_per_epoch", data.rows},
                     {"steps_per_epoch", s.steps_per_epoch},
                     {"rows_of_next_epoch_in_last_step", s.next_epoch_rows},
                     {"steps", report.steps},
                     {"epochs", report.epochs},
                     {"rows_of_last_step", report.last_step_rows},
                     {"warnings", std::move(warnings)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace fttrain
