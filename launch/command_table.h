// The commands and their flags as data: what the parser accepts, what help prints, and every flag's
// default, once.
#pragma once

#include <string>
#include <vector>

namespace fttrain {

struct Flag {
  const char* name;      // with underscores: "max_new_tokens"
  const char* value;     // how help calls it: "FOLDER"; "" of a switch
  const char* fallback;  // what counts where the flag is not given; "": nothing
  const char* meaning;   // may have several lines

  // Whether its value is called FILE..., or FOLDER.
  bool IsPath() const;
};

struct Command {
  const char* name;
  const char* purpose;  // one line
  const char* example;
  std::vector<Flag> flags;
  const char* note = "";  // what help says below the flags

  // Null if the command has no such flag.
  const Flag* Find(const std::string& flag) const;
  // Whether it reads a config, and so takes one as a word, and overrides.
  bool TakesConfig() const { return Find("config") != nullptr; }
};

const std::vector<Command>& Commands();

// Null if there is none of that name.
const Command* FindCommand(const std::string& name);

// What `fttrain help` prints (`topic` empty), or `fttrain help train`.
std::string Usage(const std::string& topic);

}  // namespace fttrain
