#include "data/chat/jinja/string_split.h"

#include <algorithm>
#include <vector>

#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"
#include "data/text/unicode.h"

namespace fttrain::jinja {
namespace {

// Pieces of a text, each paid for before it is made.
class Pieces {
 public:
  explicit Pieces(Run& run) : run_(run) {}
  void Add(std::string_view piece) {
    run_.Step();
    const auto bytes = static_cast<int64_t>((pieces_.size() + 1) * 4 * sizeof(Value));
    if (bytes > run_.max_output()) run_.Make(INT64_MAX);
    run_.Make(static_cast<int64_t>(4 * sizeof(Value) + piece.size()));
    pieces_.push_back(Value::String(std::string(piece)));
  }
  bool Full(int64_t most) const {
    return most >= 0 && static_cast<int64_t>(pieces_.size()) >= most;
  }
  Value List(bool reversed) {
    if (reversed) std::reverse(pieces_.begin(), pieces_.end());
    return Value::List(std::move(pieces_));
  }

 private:
  Run& run_;
  std::vector<Value> pieces_;
};

size_t SizeAt(std::string_view text, size_t i) {
  return Utf8Length(static_cast<unsigned char>(text[i]));
}

Value SplitAtSpace(Run& run, std::string_view text, int64_t most) {
  Pieces out(run);
  const auto skip = [&](size_t i, bool spaces) {
    while (i < text.size() && IsSpace(Utf8CodePoint(text, i)) == spaces) i += SizeAt(text, i);
    return i;
  };
  for (size_t i = skip(0, true); i < text.size(); i = skip(i, true)) {
    if (out.Full(most)) {
      out.Add(text.substr(i));
      break;
    }
    const size_t end = skip(i, false);
    out.Add(text.substr(i, end - i));
    i = end;
  }
  return out.List(false);
}

Value SplitAtSpaceFromEnd(Run& run, std::string_view text, int64_t most) {
  Pieces out(run);
  for (std::string_view rest = Strip(text, nullptr, false, true); !rest.empty();) {
    if (out.Full(most)) {
      out.Add(rest);
      break;
    }
    size_t begin = rest.size();
    while (begin > 0) {
      size_t last = begin - 1;
      while (last > 0 && (rest[last] & 0xC0) == 0x80) --last;
      if (IsSpace(Utf8CodePoint(rest, last))) break;
      begin = last;
    }
    out.Add(rest.substr(begin));
    rest = Strip(rest.substr(0, begin), nullptr, false, true);
  }
  return out.List(true);
}

Value SplitAt(Run& run, std::string_view text, std::string_view separator, int64_t most,
              bool from_end) {
  Pieces out(run);
  while (!out.Full(most)) {
    const size_t at = from_end ? text.rfind(separator) : text.find(separator);
    if (at == std::string_view::npos) break;
    const size_t behind = at + separator.size();
    out.Add(from_end ? text.substr(behind) : text.substr(0, at));
    text = from_end ? text.substr(0, at) : text.substr(behind);
  }
  out.Add(text);
  return out.List(from_end);
}

}  // namespace

template <bool kFromEnd>
Value Split(Run& run, const std::string& text, Arguments& args) {
  const Parameters p(kFromEnd ? "rsplit" : "split", args, {"sep", "maxsplit"}, 0);
  const int64_t most = p.Int(1, -1);
  run.Step(static_cast<int64_t>(text.size() / 128));
  if (!p.Given(0)) {
    return kFromEnd ? SplitAtSpaceFromEnd(run, text, most) : SplitAtSpace(run, text, most);
  }
  if (p.String(0).empty()) throw Error(ErrorKind::kValue, "empty separator");
  return SplitAt(run, text, p.String(0), most, kFromEnd);
}
template Value Split<false>(Run&, const std::string&, Arguments&);
template Value Split<true>(Run&, const std::string&, Arguments&);

template <bool kFromEnd>
Value Partition(Run& run, const std::string& text, Arguments& args) {
  const Parameters p(kFromEnd ? "rpartition" : "partition", args, {"sep"}, 1, 1);
  const std::string& separator = p.String(0);
  if (separator.empty()) throw Error(ErrorKind::kValue, "empty separator");
  run.Make(static_cast<int64_t>(text.size()));
  const size_t at = kFromEnd ? text.rfind(separator) : text.find(separator);
  const auto tuple = [](std::string a, std::string b, std::string c) {
    return Value::Tuple(
        {Value::String(std::move(a)), Value::String(std::move(b)), Value::String(std::move(c))});
  };
  if (at == std::string::npos) return kFromEnd ? tuple("", "", text) : tuple(text, "", "");
  return tuple(text.substr(0, at), separator, text.substr(at + separator.size()));
}
template Value Partition<false>(Run&, const std::string&, Arguments&);
template Value Partition<true>(Run&, const std::string&, Arguments&);

Value Lines(Run& run, const std::string& text, Arguments& args) {
  const Parameters p("splitlines", args, {"keepends"}, 0);
  run.Step(static_cast<int64_t>(text.size() / 16));
  Pieces out(run);
  ForEachLine(text, p.Flag(0, false), [&](std::string_view line) { out.Add(line); });
  return out.List(false);
}

std::string ReplaceText(Run& run, const std::string& text, const std::string& old,
                        const std::string& put, int64_t count) {
  run.Step(static_cast<int64_t>(text.size() / 128));
  run.Make(static_cast<int64_t>(text.size()));
  std::string out;
  size_t from = 0;
  const auto replace = [&](size_t at) {
    run.Make(static_cast<int64_t>(put.size()));
    if (static_cast<int64_t>(out.size()) > run.max_output()) run.Make(INT64_MAX);
    out.append(text, from, at - from);
    out += put;
    from = at + old.size();
  };
  if (old.empty()) {  // before every character and at the end
    size_t at = 0;
    for (; count != 0; --count) {
      replace(at);
      if (at >= text.size()) break;
      at += SizeAt(text, at);
    }
  } else {
    for (size_t at = text.find(old); at != std::string::npos && count != 0; --count) {
      replace(at);
      at = text.find(old, from);
    }
  }
  return out + text.substr(from);
}

std::string Justify(Run& run, const std::string& text, int64_t width, std::string_view fill,
                    int side) {
  const auto length = static_cast<int64_t>(LengthOf(text));
  if (width <= length) return text;
  const int64_t missing = width - length;
  if (missing > run.max_output() / 4) run.Make(INT64_MAX);
  run.Make(static_cast<int64_t>(text.size()) + missing * static_cast<int64_t>(fill.size()));
  // str.center puts the odd one on the left where the width is odd.
  const int64_t left = side < 0 ? 0 : side > 0 ? missing : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (int64_t i = left; i < missing; ++i) out += fill;
  return out;
}

}  // namespace fttrain::jinja
