// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace fttrain {

// 1234567 -> "1,234,567"; at least 0.
std::string WithCommas(int64_t n);

// Of a whole: "12.3%", "0%" of nothing, and "under 0.1%" of what is not nothing.
std::string Share(int64_t part, int64_t whole);

// "1 row", "1,200 rows".
std::string Counted(int64_t n, const std::string& one, const std::string& several);
inline std::string Counted(int64_t n, const std::string& one) { return Counted(n, one, one + "s"); }

// "0:09", "12:34", "1:02:03"; at least 0.
std::string ClockTime(double seconds);

// Bytes: "17.70 GiB", however few.
std::string InGib(int64_t bytes);
// "17.70 GiB", "3.25 MiB", "905,696 bytes".
std::string InWords(int64_t bytes);

}  // namespace fttrain
