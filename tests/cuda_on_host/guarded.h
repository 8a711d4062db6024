// Buffers whose ends are watched: pages without access around them, a pattern in what their pages
// hold beside them. A kernel's access to such a page, a misaligned one, and an index beyond an
// array of known size become the error of its launch (faults.cc).
#pragma once

#include <cstdint>
#include <cstring>
#include <ostream>
#include <random>
#include <string>
#include <vector>

namespace fttrain::cuda_on_host {

// Which end of the buffer lies at the page without access (but for alignment), and whether it
// begins at a multiple of 16 bytes or one element after.
struct Placement {
  bool at_end, aligned;
};
inline constexpr Placement kPlacements[] = {
    {true, true}, {true, false}, {false, true}, {false, false}};
inline void PrintTo(const Placement& p, std::ostream* out) {
  *out << (p.at_end ? "at the end of a page" : "at the beginning of a page")
       << (p.aligned ? "" : ", misaligned");
}

// Bytes of zero. The name stands in errors.
class GuardedBytes {
 public:
  GuardedBytes(std::string name, size_t bytes, size_t element, Placement placement);
  ~GuardedBytes();
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;

  char* data() const { return data_; }
  // Throws std::runtime_error if bytes beside the buffer were written.
  void CheckSurroundings() const;
  // Where an address is relative to the buffer, or "" if it is not on its pages.
  std::string Describe(const char* address) const;

 private:
  std::string name_;
  size_t bytes_, mapped_;
  char *mapping_, *pages_, *data_;
};

// The same as values of T.
template <class T>
class Guarded {
 public:
  Guarded(const std::string& name, const std::vector<T>& values, Placement placement)
      : size_(values.size()), bytes_(name, size_ * sizeof(T), sizeof(T), placement) {
    if (size_ > 0) std::memcpy(bytes_.data(), values.data(), size_ * sizeof(T));
  }
  T* data() const { return reinterpret_cast<T*>(bytes_.data()); }
  std::vector<T> Values() const {
    bytes_.CheckSurroundings();
    return std::vector<T>(data(), data() + size_);
  }

 private:
  size_t size_;
  GuardedBytes bytes_;
};

// Normal numbers, the same for a seed.
template <class T>
std::vector<T> RandomNormals(int64_t n, unsigned seed, double scale = 1.0) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, scale);
  std::vector<T> values(static_cast<size_t>(n));
  for (T& v : values) v = static_cast<T>(normal(random));
  return values;
}

}  // namespace fttrain::cuda_on_host
