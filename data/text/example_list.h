// Examples in a row, wherever they are: in memory, or in files of tokens (packing/token_file.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/text/example.h"

namespace fttrain {

// Ids that examples have, up to the highest that a tokenizer may give.
struct TokenUse {
  std::vector<bool> there, learnt;  // by id; learnt: as a target

  void Add(const Example& example);
  void Add(const TokenUse& other);
};

// What of an example is known without its tokens.
struct ExampleSize {
  int64_t tokens = 0, labels = 0;
  int64_t targets = 0;  // CountTargets of all of it
};

// The digest of examples: of their ids and labels, not of their sources.
class ExampleDigest {
 public:
  ExampleDigest();
  ~ExampleDigest();
  ExampleDigest(const ExampleDigest&) = delete;
  ExampleDigest& operator=(const ExampleDigest&) = delete;

  void Add(const Example& example);
  std::string Hex();  // once

 private:
  struct Hash;
  std::unique_ptr<Hash> hash_;
};

// Examples that do not change. Any thread.
class ExampleStore {
 public:
  virtual ~ExampleStore() = default;
  virtual int64_t size() const = 0;
  virtual Example Get(int64_t i) const = 0;
  virtual ExampleSize SizeOf(int64_t i) const = 0;
  virtual std::string SourceOf(int64_t i) const = 0;
  // Whether it is of another row than the one before it; i > 0.
  virtual bool BeginsRow(int64_t i) const { return SourceOf(i) != SourceOf(i - 1); }
  // Of all of them together: known, or found out once.
  virtual std::string Digest() const = 0;
  virtual const TokenUse& Use() const = 0;
};

// Cheap to copy. An element is a copy of the example.
class ExampleList {
 public:
  ExampleList() = default;
  ExampleList(std::vector<Example> examples);  // NOLINT: a list like any other
  explicit ExampleList(std::shared_ptr<const ExampleStore> store);

  size_t size() const { return parts_.empty() ? 0 : static_cast<size_t>(parts_.back().end); }
  bool empty() const { return size() == 0; }
  Example operator[](size_t i) const;
  Example front() const { return (*this)[0]; }
  ExampleSize SizeOf(size_t i) const;
  std::string SourceOf(size_t i) const;
  bool BeginsRow(size_t i) const;  // a row: what has one source, neighbours all

  void Append(const ExampleList& more);
  // Those of which `wanted` says so, in order.
  ExampleList Only(const std::vector<bool>& wanted) const;

  // Of the examples from `begin` to before `end`, between which stores are whole: theirs, and which
  // of their examples are picked. Does not read examples of stores that know theirs.
  std::string Digest(size_t begin, size_t end) const;
  // Of the stores: with those of their examples that are not picked.
  TokenUse Use() const;

  class Iterator {
   public:
    Iterator(const ExampleList* list, size_t at) : list_(list), at_(at) {}
    Example operator*() const { return (*list_)[at_]; }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return at_ != other.at_; }

   private:
    const ExampleList* list_;
    size_t at_;
  };
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, size()}; }

 private:
  struct Part {
    std::shared_ptr<const ExampleStore> store;
    std::shared_ptr<const std::vector<ExampleIndex>> picked;  // of the store; null: all of it
    int64_t end = 0;                                          // in the list
  };
  struct Place {
    const ExampleStore* store;
    int64_t index;
  };
  Place PlaceOf(size_t i) const;
  int64_t BeginOf(size_t part) const { return part == 0 ? 0 : parts_[part - 1].end; }

  std::vector<Part> parts_;
};

}  // namespace fttrain
