#include "runtime/process/log.h"

#include <cstdio>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

// The one mutable static of the project besides the memory ledger: stderr is global as well.
struct LogState {
  bool quiet = false;
  bool info_to_stderr = false;
  std::string error_prefix = "fttrain: error: ";
} g_log;

// Bytes of the UTF-8 character that `text` begins with (RFC 3629, section 4); 0 where none does.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? text[i] & 0xff : 0; };
  const int lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const bool overlong = (lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90);
  const bool none = (lead == 0xed && byte(1) > 0x9f) || (lead == 0xf4 && byte(1) > 0x8f);
  return overlong || none ? 0 : bytes;
}

std::string Escaped(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    const size_t bytes = CharacterBytes(text.substr(i));
    if (bytes > 1) {
      out.append(text.substr(i, bytes));
      i += bytes - 1;
    } else if (bytes == 1 && byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

void WriteLine(std::FILE* file, std::string line) {
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), file);
  std::fflush(file);
}

}  // namespace

void SetLogRank(int rank, int world_size, std::string_view host) {
  g_log.quiet = rank != 0;
  g_log.error_prefix = "fttrain: error: ";
  if (world_size > 1) {
    absl::StrAppend(&g_log.error_prefix, "[rank ", rank, "/", world_size, " ", std::string(host),
                    "] ");
  }
}

void LogInfo(std::string_view message) {
  if (!g_log.quiet) WriteLine(g_log.info_to_stderr ? stderr : stdout, std::string(message));
}

void SendInfoToStderr() { g_log.info_to_stderr = true; }

void LogError(std::string_view message) {
  std::fflush(stdout);
  WriteLine(stderr, g_log.error_prefix + Escaped(message));
}

void LogAgreedError(int code, std::string_view message) {
  std::fflush(stdout);
  WriteLine(stderr, absl::StrCat("fttrain: error[", code, "]: ", Escaped(message)));
}

std::string Printable(std::string_view text, size_t bytes) {
  // Escaping only grows text, so what lies beyond the limit cannot show.
  std::string out = Escaped(text.substr(0, bytes + 1));
  if (out.size() <= bytes) return out;
  size_t end = bytes - 3;
  while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xc0) == 0x80) --end;
  return out.substr(0, end) + "...";
}

}  // namespace fttrain
