#include "data/tokenizer/tokenizer.h"

#include <algorithm>

#include "data/text/unicode.h"
#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/decoder.h"
#include "data/tokenizer/normalizer.h"
#include "data/tokenizer/post_processor.h"
#include "data/tokenizer/pre_tokenizer.h"
#include "runtime/files/json.h"
#include "runtime/files/whole_file.h"

namespace fttrain {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{256} << 20;

// Where segments end inside a text that changes as it is normalized: byte offsets, rising, and the
// segment's number.
struct Mark {
  size_t at;
  size_t segment;
};

absl::Status Straddles(std::string_view token, size_t segment) {
  return absl::InvalidArgumentError(
      absl::StrCat("token '", Printable(token), "' covers the end of part ", segment + 1,
                   " and the start of the next, so no mask can lie between them"));
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(BpeModel m) : model(std::move(m)) {}

  BpeModel model;
  Normalizer normalizer;
  PreTokenizer pre;
  AddedTokens added;
  TokenDecoder decoder;
  PostProcessor post;
  std::string bos, eos;

  absl::Status ReadSpecialTokens(const JsonNode& config);
  std::optional<int32_t> Id(std::string_view token) const;
  std::string Spelling(int32_t id) const;

  // Each appends ids, and sets ends[] of the marks inside. The first: added tokens as they are,
  // what is between by `between`(part, whether it begins the text, marks inside).
  template <typename Between>
  absl::Status EncodeSections(std::string_view text, bool normalized,
                              const std::vector<Mark>& marks, const Between& between,
                              SegmentedIds* out) const;
  absl::Status EncodeText(std::string_view text, const std::vector<Mark>& marks,
                          SegmentedIds* out) const;
  absl::Status EncodeRaw(std::string_view raw, bool at_start, const std::vector<Mark>& marks,
                         SegmentedIds* out) const;
  absl::Status EncodeWords(std::string_view text, bool at_start, const std::vector<Mark>& marks,
                           SegmentedIds* out) const;
};

absl::Status Tokenizer::Impl::ReadSpecialTokens(const JsonNode& config) {
  for (const auto& [key, token] : {std::pair{"bos_token", &bos}, std::pair{"eos_token", &eos}}) {
    const JsonNode node = config[key];
    if (!node.present()) continue;
    const JsonNode content = node.value().is_object() ? node["content"] : node;
    FT_ASSIGN_OR_RETURN(*token, content.String());
    if (!Id(*token).has_value()) {
      return node.Error(absl::StrCat("token '", Printable(*token), "' is not in the vocabulary"));
    }
  }
  return absl::OkStatus();
}

std::optional<int32_t> Tokenizer::Impl::Id(std::string_view token) const {
  const AddedToken* found = added.FindContent(token);
  return found != nullptr ? std::optional<int32_t>(found->id) : model.TokenToId(token);
}

std::string Tokenizer::Impl::Spelling(int32_t id) const {
  if (const AddedToken* token = added.FindId(id)) return token->spelling;
  const std::string* token = model.IdToToken(id);
  return token == nullptr ? "" : *token;
}

namespace {

// Marks of [begin, end) relative to it; those at `begin` or before are met by what is encoded so
// far. `next` runs along.
std::vector<Mark> TakeMarks(const std::vector<Mark>& marks, size_t begin, size_t end, size_t* next,
                            SegmentedIds* out) {
  std::vector<Mark> inside;
  for (; *next < marks.size() && marks[*next].at < end; ++*next) {
    if (marks[*next].at <= begin) {
      out->ends[marks[*next].segment] = static_cast<int64_t>(out->ids.size());
    } else {
      inside.push_back({marks[*next].at - begin, marks[*next].segment});
    }
  }
  return inside;
}

void MeetRest(const std::vector<Mark>& marks, size_t next, SegmentedIds* out) {
  for (; next < marks.size(); ++next) {
    out->ends[marks[next].segment] = static_cast<int64_t>(out->ids.size());
  }
}

// Marks after `change`, which must turn each text before a mark into a prefix of what it turns the
// whole into.
template <typename Change>
absl::StatusOr<std::vector<Mark>> MoveMarks(std::string_view before, std::string_view after,
                                            const std::vector<Mark>& marks, const Change& change) {
  std::vector<Mark> moved;
  for (const Mark& mark : marks) {
    FT_ASSIGN_OR_RETURN(const std::string prefix, change(before.substr(0, mark.at)));
    if (after.substr(0, prefix.size()) != prefix) {
      return Straddles(before.substr(mark.at > 8 ? mark.at - 8 : 0, 16), mark.segment);
    }
    moved.push_back({prefix.size(), mark.segment});
  }
  return moved;
}

}  // namespace

template <typename Between>
absl::Status Tokenizer::Impl::EncodeSections(std::string_view text, bool normalized,
                                             const std::vector<Mark>& marks, const Between& between,
                                             SegmentedIds* out) const {
  std::vector<AddedTokens::Section> sections;
  added.Split(text, normalized, &sections);
  size_t next = 0;
  for (const AddedTokens::Section& s : sections) {
    const std::vector<Mark> inside = TakeMarks(marks, s.begin, s.end, &next, out);
    const std::string_view part = text.substr(s.begin, s.end - s.begin);
    if (s.id < 0) {
      FT_RETURN_IF_ERROR(between(part, s.begin == 0, inside));
    } else {
      if (!inside.empty()) return Straddles(part, inside[0].segment);
      out->ids.push_back(s.id);
    }
  }
  MeetRest(marks, next, out);
  return absl::OkStatus();
}

absl::Status Tokenizer::Impl::EncodeText(std::string_view text, const std::vector<Mark>& marks,
                                         SegmentedIds* out) const {
  const auto raw = [&](std::string_view part, bool at_start, const std::vector<Mark>& inside) {
    return EncodeRaw(part, at_start, inside, out);
  };
  return EncodeSections(text, /*normalized=*/false, marks, raw, out);
}

absl::Status Tokenizer::Impl::EncodeRaw(std::string_view raw, bool at_start,
                                        const std::vector<Mark>& raw_marks,
                                        SegmentedIds* out) const {
  std::string normalized;
  std::string_view text = raw;
  std::vector<Mark> marks = raw_marks;
  if (!normalizer.identity()) {
    FT_ASSIGN_OR_RETURN(normalized, normalizer.Apply(raw));
    text = normalized;
    FT_ASSIGN_OR_RETURN(marks, MoveMarks(raw, text, raw_marks,
                                         [&](std::string_view s) { return normalizer.Apply(s); }));
  }
  const auto words = [&](std::string_view part, bool first, const std::vector<Mark>& inside) {
    return EncodeWords(part, at_start && first, inside, out);
  };
  return EncodeSections(text, /*normalized=*/true, marks, words, out);
}

absl::Status Tokenizer::Impl::EncodeWords(std::string_view text, bool at_start,
                                          const std::vector<Mark>& text_marks,
                                          SegmentedIds* out) const {
  const std::string mapped = pre.Map(text, at_start);
  FT_ASSIGN_OR_RETURN(
      const std::vector<Mark> marks,
      MoveMarks(text, mapped, text_marks, [&](std::string_view s) -> absl::StatusOr<std::string> {
        return pre.Map(s, at_start);
      }));
  PreTokenizer::Words words;
  FT_RETURN_IF_ERROR(pre.Cut(mapped, &words));
  std::vector<Piece> pieces;
  size_t next = 0;
  for (const PreTokenizer::Word& word : words.words) {
    pieces.clear();
    model.Encode(word.text, &pieces);
    size_t done = 0;
    for (const Piece& piece : pieces) {
      const size_t begin = word.begin + (done > word.inserted ? done - word.inserted : 0);
      done += piece.bytes;
      const size_t end = word.begin + (done > word.inserted ? done - word.inserted : 0);
      for (; next < marks.size() && marks[next].at < end; ++next) {
        if (marks[next].at > begin) return Straddles(Spelling(piece.id), marks[next].segment);
        out->ends[marks[next].segment] = static_cast<int64_t>(out->ids.size());
      }
      out->ids.push_back(piece.id);
    }
  }
  MeetRest(marks, next, out);
  return absl::OkStatus();
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& folder) {
  const std::string path = folder + "/tokenizer.json";
  FT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  nlohmann::json config = nlohmann::json::object();
  for (const char* name : {"/special_tokens_map.json", "/tokenizer_config.json"}) {
    const auto more = ReadFile(folder + name, kMaxFileBytes);
    if (absl::IsNotFound(more.status())) continue;
    FT_RETURN_IF_ERROR(more.status());
    FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(*more, folder + name));
    FT_RETURN_IF_ERROR(JsonNode(&parsed, folder + name).IsObject());
    for (const char* key : {"bos_token", "eos_token", "added_tokens_decoder"}) {
      if (parsed.contains(key)) config[key] = parsed[key];
    }
  }
  return FromJson(text, config.dump(), path);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer,
                                                               std::string_view config,
                                                               const std::string& name) {
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(tokenizer, name));
  const JsonNode root(&parsed, name);
  FT_RETURN_IF_ERROR(root.IsObject());
  const std::string config_name = name + " (tokenizer_config.json)";
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed_config,
                      ParseJson(config.empty() ? "{}" : config, config_name));
  const JsonNode config_root(&parsed_config, config_name);
  FT_ASSIGN_OR_RETURN(PreTokenizer pre, PreTokenizer::Create(root["pre_tokenizer"]));
  FT_ASSIGN_OR_RETURN(BpeModel model, BpeModel::Create(root["model"], pre.byte_level()));
  auto impl = std::make_unique<Impl>(std::move(model));
  impl->pre = std::move(pre);
  FT_ASSIGN_OR_RETURN(impl->normalizer, Normalizer::Create(root["normalizer"]));
  FT_ASSIGN_OR_RETURN(impl->added,
                      AddedTokens::Create(root["added_tokens"], config_root["added_tokens_decoder"],
                                          impl->model, impl->normalizer));
  FT_ASSIGN_OR_RETURN(impl->decoder, TokenDecoder::Create(root["decoder"]));
  FT_ASSIGN_OR_RETURN(impl->post, PostProcessor::Create(root["post_processor"]));
  FT_RETURN_IF_ERROR(impl->ReadSpecialTokens(config_root));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text,
                                                       bool add_special_tokens) const {
  FT_ASSIGN_OR_RETURN(SegmentedIds all, EncodeSegments({std::string(text)}, add_special_tokens));
  return std::move(all.ids);
}

absl::StatusOr<SegmentedIds> Tokenizer::EncodeSegments(absl::Span<const std::string> segments,
                                                       bool add_special_tokens) const {
  std::string text;
  std::vector<Mark> marks;
  for (size_t i = 0; i < segments.size(); ++i) {
    text += segments[i];
    marks.push_back({text.size(), i});
  }
  const size_t bad = FindInvalidUtf8(text);
  if (bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("text is not UTF-8 at byte ", bad));
  }
  SegmentedIds out;
  out.ends.assign(segments.size(), 0);
  if (add_special_tokens) out.ids = impl_->post.before;
  FT_RETURN_IF_ERROR(impl_->EncodeText(text, marks, &out));
  if (add_special_tokens) {
    out.ids.insert(out.ids.end(), impl_->post.behind.begin(), impl_->post.behind.end());
  }
  if (!out.ends.empty()) out.ends.back() = static_cast<int64_t>(out.ids.size());
  return out;
}

std::string Tokenizer::Decode(absl::Span<const int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  for (const int32_t id : ids) {
    std::string token = impl_->Spelling(id);
    if (token.empty()) continue;
    const AddedToken* added = impl_->added.FindContent(token);
    if (skip_special && added != nullptr && added->special) continue;
    tokens.push_back(std::move(token));
  }
  return impl_->decoder.Decode(std::move(tokens));
}

std::optional<int32_t> Tokenizer::TokenToId(std::string_view token) const {
  return impl_->Id(token);
}
std::string Tokenizer::IdToToken(int32_t id) const { return impl_->Spelling(id); }

int32_t Tokenizer::MaxId() const {
  int32_t max_id = impl_->model.max_id();
  for (const AddedToken& token : impl_->added.tokens()) max_id = std::max(max_id, token.id);
  return max_id;
}

std::optional<int32_t> Tokenizer::EosId() const {
  return impl_->eos.empty() ? std::nullopt : impl_->Id(impl_->eos);
}
std::string Tokenizer::BosToken() const { return impl_->bos; }
std::string Tokenizer::EosToken() const { return impl_->eos; }

absl::Status CheckTokenizerFits(const Tokenizer& tokenizer, int64_t embedding_rows) {
  if (tokenizer.MaxId() < embedding_rows) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the tokenizer's token '", Printable(tokenizer.IdToToken(tokenizer.MaxId())), "' has id ",
      tokenizer.MaxId(), ", but the model's embedding has ", embedding_rows, " rows"));
}

}  // namespace fttrain
