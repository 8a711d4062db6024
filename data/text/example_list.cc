#include "data/text/example_list.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/files/sha256.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// No tokenizer has more; ids beyond it are ready-made tokens' faults, told elsewhere.
constexpr int32_t kMostIds = 1 << 24;

void Mark(int32_t id, std::vector<bool>& ids) {
  if (id < 0 || id >= kMostIds) return;
  if (static_cast<size_t>(id) >= ids.size()) ids.resize(static_cast<size_t>(id) + 1, false);
  ids[static_cast<size_t>(id)] = true;
}

void Merge(const std::vector<bool>& from, std::vector<bool>& into) {
  if (into.size() < from.size()) into.resize(from.size(), false);
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i]) into[i] = true;
  }
}

class InMemory : public ExampleStore {
 public:
  explicit InMemory(std::vector<Example> examples) : examples_(std::move(examples)) {}

  int64_t size() const override { return static_cast<int64_t>(examples_.size()); }
  Example Get(int64_t i) const override { return At(i); }
  std::string SourceOf(int64_t i) const override { return At(i).source; }
  ExampleSize SizeOf(int64_t i) const override {
    const Example& example = At(i);
    const auto tokens = static_cast<int64_t>(example.input_ids.size());
    const auto labels = static_cast<int64_t>(example.labels.size());
    return {tokens, labels, tokens == labels ? CountTargets(example, tokens) : 0};
  }
  std::string Digest() const override {
    FindOut();
    return digest_;
  }
  const TokenUse& Use() const override {
    FindOut();
    return use_;
  }

 private:
  const Example& At(int64_t i) const { return examples_[static_cast<size_t>(i)]; }

  void FindOut() const {
    std::call_once(found_out_, [this] {
      ExampleDigest digest;
      for (const Example& example : examples_) {
        digest.Add(example);
        use_.Add(example);
      }
      digest_ = digest.Hex();
    });
  }

  std::vector<Example> examples_;
  mutable std::once_flag found_out_;
  mutable std::string digest_;
  mutable TokenUse use_;
};

}  // namespace

int64_t CountTargets(const Example& example, int64_t length) {
  int64_t targets = 0;
  for (int64_t i = 1; i < length; ++i)
    targets += example.labels[static_cast<size_t>(i)] != kNoTarget;
  return targets;
}

void TokenUse::Add(const Example& example) {
  for (size_t i = 0; i < example.input_ids.size(); ++i) {
    Mark(example.input_ids[i], there);
    // Of the token, not of its label: labels of ready-made tokens may be others.
    if (i > 0 && example.labels[i] != kNoTarget) Mark(example.input_ids[i], learnt);
  }
}

void TokenUse::Add(const TokenUse& other) {
  Merge(other.there, there);
  Merge(other.learnt, learnt);
}

struct ExampleDigest::Hash {
  Sha256 sha;
};

ExampleDigest::ExampleDigest() : hash_(std::make_unique<Hash>()) {}
ExampleDigest::~ExampleDigest() = default;

void ExampleDigest::Add(const Example& example) {
  for (const std::vector<int32_t>* ids : {&example.input_ids, &example.labels}) {
    const auto bytes = static_cast<int64_t>(ids->size() * sizeof(int32_t));
    hash_->sha.Add(&bytes, sizeof(bytes));
    hash_->sha.Add(ids->data(), bytes);
  }
}

std::string ExampleDigest::Hex() { return hash_->sha.Hex(); }

ExampleList::ExampleList(std::vector<Example> examples)
    : ExampleList(std::make_shared<const InMemory>(std::move(examples))) {}

ExampleList::ExampleList(std::shared_ptr<const ExampleStore> store) {
  const int64_t size = store->size();
  if (size > 0) parts_.push_back({std::move(store), nullptr, size});
}

ExampleList::Place ExampleList::PlaceOf(size_t i) const {
  FT_CHECK(i < size(), "example ", i, " of ", size());
  const auto at = static_cast<int64_t>(i);
  const auto part =
      std::upper_bound(parts_.begin(), parts_.end(), at,
                       [](int64_t index, const Part& each) { return index < each.end; });
  const int64_t inside = at - BeginOf(static_cast<size_t>(part - parts_.begin()));
  return {part->store.get(), part->picked ? (*part->picked)[static_cast<size_t>(inside)] : inside};
}

Example ExampleList::operator[](size_t i) const {
  const Place place = PlaceOf(i);
  return place.store->Get(place.index);
}

ExampleSize ExampleList::SizeOf(size_t i) const {
  const Place place = PlaceOf(i);
  return place.store->SizeOf(place.index);
}

std::string ExampleList::SourceOf(size_t i) const {
  const Place place = PlaceOf(i);
  return place.store->SourceOf(place.index);
}

bool ExampleList::BeginsRow(size_t i) const {
  if (i == 0) return true;
  const Place place = PlaceOf(i), before = PlaceOf(i - 1);
  const bool neighbours = place.store == before.store && place.index == before.index + 1;
  return neighbours ? place.store->BeginsRow(place.index) : SourceOf(i) != SourceOf(i - 1);
}

void ExampleList::Append(const ExampleList& more) {
  const auto before = static_cast<int64_t>(size());
  for (Part part : more.parts_) {
    part.end += before;
    parts_.push_back(std::move(part));
  }
}

ExampleList ExampleList::Only(const std::vector<bool>& wanted) const {
  ExampleList out;
  for (size_t p = 0; p < parts_.size(); ++p) {
    auto picked = std::make_shared<std::vector<ExampleIndex>>();
    const int64_t begin = BeginOf(p);
    for (int64_t i = begin; i < parts_[p].end; ++i) {
      if (!wanted[static_cast<size_t>(i)]) continue;
      const auto inside = static_cast<size_t>(i - begin);
      picked->push_back(parts_[p].picked ? (*parts_[p].picked)[inside]
                                         : static_cast<ExampleIndex>(i - begin));
    }
    if (picked->empty()) continue;
    const int64_t end = static_cast<int64_t>(out.size() + picked->size());
    out.parts_.push_back({parts_[p].store, std::move(picked), end});
  }
  return out;
}

std::string ExampleList::Digest(size_t begin, size_t end) const {
  std::vector<std::string> digests;
  for (size_t p = 0; p < parts_.size(); ++p) {
    const auto from = static_cast<size_t>(BeginOf(p)), to = static_cast<size_t>(parts_[p].end);
    if (to <= begin || from >= end) continue;
    FT_CHECK(from >= begin && to <= end, "examples ", from, " to ", to, " of ", begin, " to ", end);
    digests.push_back(parts_[p].store->Digest());
    if (parts_[p].picked == nullptr) continue;
    const std::vector<ExampleIndex>& picked = *parts_[p].picked;
    Sha256 hash;
    hash.Add(picked.data(), static_cast<int64_t>(picked.size() * sizeof(ExampleIndex)));
    absl::StrAppend(&digests.back(), " ", hash.Hex());
  }
  const bool is_one_store = digests.size() == 1 && digests[0].find(' ') == std::string::npos;
  return is_one_store ? digests[0] : Sha256Hex(absl::StrJoin(digests, "\n"));
}

TokenUse ExampleList::Use() const {
  TokenUse use;
  for (const Part& part : parts_) use.Add(part.store->Use());
  return use;
}

}  // namespace fttrain
