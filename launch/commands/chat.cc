#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "launch/commands/commands.h"
#include "launch/commands/sampling_flags.h"
#include "launch/exit_code.h"
#include "launch/run/evaluation.h"
#include "launch/run/speech.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Tokens of a conversation that positions are made for, where the model knows more.
constexpr int64_t kMostTokens = 32768;

constexpr char kHelp[] =
    "/reset forgets the conversation, /system TEXT sets the system's words (alone: none), /exit "
    "ends";

void Write(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// What an answer's text grows by, as tokens come. A character that is not whole yet is waited for.
class Teller {
 public:
  Teller(const Speech& speech, bool speaks) : speech_(speech), speaks_(speaks) {}
  void Tell(const std::vector<int32_t>& answer, bool whole) {
    if (!speaks_) return;
    const std::string text = speech_.TextOf(answer);
    if (!whole && absl::EndsWith(text, "\xEF\xBF\xBD")) return;
    if (text.size() > told_) Write(text.substr(told_));
    told_ = std::max(told_, text.size());
  }

 private:
  const Speech& speech_;
  bool speaks_;
  size_t told_ = 0;
};

// One conversation, the same on all ranks.
class Chat {
 public:
  Chat(Network& network, const Speech& speech, GenerationOptions options, bool speaks, int64_t room)
      : network_(network),
        speech_(speech),
        options_(std::move(options)),
        speaks_(speaks),
        room_(room) {}

  void SetSystem(const std::string& text) { system_ = text; }

  // False: it ends.
  bool Take(const std::string& line) {
    const std::string said(absl::StripAsciiWhitespace(line));
    if (said.empty()) return true;
    if (said == "/exit") return false;
    if (said == "/reset") {
      turns_.clear();
      Say("forgotten");
    } else if (said == "/system" || absl::StartsWith(said, "/system ")) {
      SetSystem(std::string(absl::StripAsciiWhitespace(said.substr(7))));
      Say(system_.empty() ? "no system's words" : "the system's words are set");
    } else if (said[0] == '/') {
      Say(kHelp);
    } else {
      Ask(said);
    }
    return true;
  }

 private:
  void Say(const std::string& note) const {
    if (speaks_) Write(absl::StrCat("(", note, ")\n"));
  }

  // A question that cannot be asked is told, and forgotten.
  void Ask(const std::string& question) {
    Conversation asked;
    if (!system_.empty()) asked.messages.push_back({"system", system_});
    asked.messages.insert(asked.messages.end(), turns_.begin(), turns_.end());
    asked.messages.push_back({"user", question});
    const absl::StatusOr<std::vector<int32_t>> ids = speech_.Ask(asked);
    if (!ids.ok()) return Say(std::string(ids.status().message()));
    const int64_t left = room_ - static_cast<int64_t>(ids->size());
    if (left < 1) {
      return Say(absl::StrCat("the conversation has ", ids->size(), " tokens, and ", room_,
                              " is the most: /reset forgets it"));
    }
    GenerationOptions options = options_;
    options.max_new_tokens = std::min(options.max_new_tokens, left);
    options.first_prompt = asked_++;
    options.remembered = &remembered_;
    Teller teller(speech_, speaks_);
    options.on_token = [&](size_t, const std::vector<int32_t>& answer) {
      teller.Tell(answer, /*whole=*/false);
    };
    const Answer answer = Generate(network_, {*ids}, options).front();
    teller.Tell(answer.ids, /*whole=*/true);
    if (speaks_) Write("\n");
    if (!answer.ended) Say("cut off by --max_new_tokens");
    turns_.push_back({"user", question});
    turns_.push_back({"assistant", speech_.TextOf(answer.ids)});
  }

  Network& network_;
  const Speech& speech_;
  GenerationOptions options_;
  bool speaks_;
  int64_t room_;
  std::string system_;
  std::vector<Message> turns_;
  Remembered remembered_;  // turns are not computed again
  uint64_t asked_ = 0;
};

// A line of rank 0's input on all ranks, which sleep until there is one; false at its end.
bool NextLine(const Process& process, bool terminal, std::string* line) {
  bool there = true;
  if (process.rank() == 0) {
    if (terminal) Write("> ");
    there = static_cast<bool>(std::getline(std::cin, *line));
    if (terminal && !there) Write("\n");
  }
  process.IdleBarrier();
  *line = process.BroadcastString(there ? "+" + *line : "");
  if (line->empty()) return false;
  line->erase(0, 1);
  return true;
}

}  // namespace

absl::Status ChatCommand(const CommandLine& line, const Process& process) {
  absl::StatusOr<GenerationOptions> options = ReadGenerationFlags(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(options.status()));
  FT_ASSIGN_OR_RETURN(const EvaluationSetup setup, PrepareGeneration(line, process));
  const absl::StatusOr<Speech> speech = Speech::Load(setup.task, /*raw=*/false);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(speech.status()));
  options->stop_ids = speech->stop_ids();
  const int64_t room = std::min(MostAnswerTokens(setup.task.model), kMostTokens);
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network,
                      LoadForEvaluation(setup, room, process));
  const bool first = process.rank() == 0, terminal = first && isatty(STDIN_FILENO) != 0;
  if (terminal) LogInfo(kHelp);
  Chat chat(*network, *speech, *std::move(options), first, room);
  if (line.Has("system")) chat.SetSystem(line.Get("system"));
  std::string said;
  while (NextLine(process, terminal, &said) && chat.Take(said)) {
  }
  process.Barrier();  // between hosts, what a rank has sent ends with its communicators
  return absl::OkStatus();
}

}  // namespace fttrain
