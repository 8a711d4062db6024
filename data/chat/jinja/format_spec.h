// Format specifications, taken apart; for format.cc and format_percent.cc.
#pragma once

#include <cstdint>
#include <string>

#include "data/chat/jinja/numbers.h"
#include "data/chat/jinja/run.h"

namespace fttrain::jinja {

// [[fill]align][sign][z][#][0][width][grouping][.precision][type]
struct Spec {
  std::string fill = " ";
  char align = 0, sign = '-', grouping = 0;
  int64_t width = -1;
  NumberForm form;
};

inline bool IsDigitChar(char c) { return c >= '0' && c <= '9'; }
// The digits at *i as a number; *i goes behind them. kValue beyond 31 bits.
int64_t ReadNumber(const std::string& text, size_t* i);
// prefix and body, filled up to the width; align '=' fills between them.
std::string Aligned(Run& run, const Spec& spec, const std::string& prefix, const std::string& body,
                    char align);

}  // namespace fttrain::jinja
