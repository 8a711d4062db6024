#include "data/tokenizer/tokenizer.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "data/text/unicode.h"
#include "data/tokenizer/encoder.h"
#include "data/tokenizer/tokenizer_impl.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// The post-processor's ids around a text's, each end once: a text may bring them along.
void AddAround(const PostProcessor& post, SegmentedIds* out) {
  std::vector<int32_t>& ids = out->ids;
  const auto& [before, behind] = std::tie(post.before, post.behind);
  if (ids.size() < before.size() || !std::equal(before.begin(), before.end(), ids.begin())) {
    ids.insert(ids.begin(), before.begin(), before.end());
    for (int64_t& end : out->ends) end += static_cast<int64_t>(before.size());
    for (SharedToken& token : out->shared) token.index += static_cast<int64_t>(before.size());
  }
  if (ids.size() < before.size() + behind.size() ||
      !std::equal(behind.rbegin(), behind.rend(), ids.rbegin())) {
    ids.insert(ids.end(), behind.begin(), behind.end());
  }
  if (!out->ends.empty()) out->ends.back() = static_cast<int64_t>(ids.size());
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(std::string_view text,
                                                       bool add_special_tokens) const {
  FT_ASSIGN_OR_RETURN(SegmentedIds all, EncodeSegments({std::string(text)}, add_special_tokens));
  return std::move(all.ids);
}

absl::StatusOr<SegmentedIds> Tokenizer::EncodeSegments(absl::Span<const std::string> segments,
                                                       bool add_special_tokens) const {
  std::string joined;
  std::vector<Mark> marks;
  size_t size = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    size += segments[i].size();
    marks.push_back({size, size, i});
  }
  if (segments.size() != 1) {
    for (const std::string& segment : segments) joined += segment;
  }
  const std::string& text = segments.size() == 1 ? segments[0] : joined;
  const size_t bad = FindInvalidUtf8(text);
  if (bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("text is not UTF-8 at byte ", bad));
  }
  for (const Mark& mark : marks) {
    const bool inside =
        mark.high < text.size() && (static_cast<unsigned char>(text[mark.high]) & 0xC0) == 0x80;
    if (inside) {
      return absl::InvalidArgumentError(
          absl::StrCat("part ", mark.segment + 1, " of the text ends inside a character"));
    }
  }
  SegmentedIds out;
  out.ends.assign(segments.size(), 0);
  ScratchPool::Lease scratch(&impl_->pool);
  FT_RETURN_IF_ERROR(Encoder(*impl_, scratch.get(), &out).Text(text, marks));
  if (add_special_tokens) AddAround(impl_->post, &out);
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
  int32_t max_id = impl_->model->vocabulary().max_id();
  for (const AddedToken& token : impl_->added.tokens()) max_id = std::max(max_id, token.id);
  return max_id;
}

int64_t Tokenizer::CountFrom(int64_t id) const {
  absl::flat_hash_set<int32_t> ids;
  for (const auto& [token, its] : impl_->model->vocabulary().ids()) {
    if (its >= id) ids.insert(its);
  }
  for (const AddedToken& token : impl_->added.tokens()) {
    if (token.id >= id) ids.insert(token.id);
  }
  return absl::c_count_if(ids, [&](int32_t its) { return !impl_->Spelling(its).empty(); });
}

int64_t Tokenizer::WrittenId(int32_t id) const { return impl_->added.WrittenId(id); }

bool Tokenizer::IsAddedToken(int32_t id) const { return impl_->added.FindId(id) != nullptr; }

bool Tokenizer::IsSpecialToken(int32_t id) const {
  const AddedToken* const token = impl_->added.FindId(id);
  return token != nullptr && token->special;
}

std::vector<int32_t> Tokenizer::AddedTokensIn(std::string_view text) const {
  std::vector<int32_t> ids;
  std::vector<AddedTokens::Section> sections;
  for (const bool normalized : {false, true}) {
    impl_->added.Split(text, normalized, &sections);
    for (const AddedTokens::Section& section : sections) {
      if (section.id >= 0) ids.push_back(section.id);
    }
  }
  return ids;
}

std::optional<int32_t> Tokenizer::EosId() const {
  return impl_->eos.empty() ? std::nullopt : impl_->Id(impl_->eos);
}
std::string Tokenizer::BosToken() const { return impl_->bos; }
std::string Tokenizer::EosToken() const { return impl_->eos; }
const std::vector<std::string>& Tokenizer::Notes() const { return impl_->notes; }

std::string NoteTokensBeyond(const Tokenizer& tokenizer, int64_t embedding_rows) {
  const int64_t beyond = tokenizer.CountFrom(embedding_rows);
  if (beyond == 0) return "";
  return absl::StrCat("the tokenizer's token '", Printable(tokenizer.IdToToken(tokenizer.MaxId())),
                      "' has id ", tokenizer.MaxId(), ", but the model's embedding has ",
                      embedding_rows, " rows: a text that uses it is refused", SoItIsWith(beyond));
}

absl::Status CheckIdsFit(const Tokenizer& tokenizer, absl::Span<const int32_t> ids,
                         int64_t embedding_rows) {
  for (const int32_t id : ids) {
    const int64_t written = tokenizer.WrittenId(id);
    if (id < embedding_rows && written < embedding_rows) continue;
    const std::string by_file =
        absl::StrCat(" has id ", written, " in a file of its folder (and ", id, " by tokenizers)");
    return absl::InvalidArgumentError(absl::StrCat(
        "token '", Printable(tokenizer.IdToToken(id)), "'",
        id < embedding_rows ? by_file : absl::StrCat(" has id ", id),
        ", but the model's embedding has ", embedding_rows, " rows, so no text can use it"));
  }
  return absl::OkStatus();
}

}  // namespace fttrain
