// How near does NF4 come to a plain copy? Bytes read and written, by formula, per second; a weight
// of 8192 x 8192 (32 MiB of codes), nested scales.
//   nf4_bench [cpu|cuda] [threads]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bench/seconds.h"
#include "model/nf4/nf4.h"

namespace fttrain {
namespace {

constexpr int64_t kRows = 8192, kColumns = 8192, kElements = kRows * kColumns;

// memcpy of as many bytes as a bfloat16 weight, split over the threads.
void Copy(const at::Tensor& from, const at::Tensor& to) {
  if (from.is_cuda()) {
    to.copy_(from);
    return;
  }
  const auto* source = static_cast<const char*>(from.const_data_ptr());
  auto* destination = static_cast<char*>(to.mutable_data_ptr());
  at::parallel_for(
      0, static_cast<int64_t>(from.nbytes()), 1 << 16, [&](int64_t begin, int64_t end) {
        std::memcpy(destination + begin, source + begin, static_cast<size_t>(end - begin));
      });
}

Nf4Matrix Quantized(const at::Tensor& values, bool double_quant) {
  const Nf4Options options{64, double_quant, at::kBFloat16};
  Nf4Matrix matrix{MakeNf4Layout(WholeParam("w", {kRows, kColumns}), options), {}};
  matrix.bytes = at::zeros({matrix.layout.bytes}, values.options().dtype(at::kByte));
  const at::Tensor codes = at::empty({kElements / 2}, matrix.bytes.options());
  const at::Tensor absmax = at::empty({kElements / 64}, codes.options().dtype(at::kFloat));
  QuantizeNf4Blocks(values, 64, codes, absmax);
  StoreNf4Codes(matrix, 0, kElements, codes);
  if (double_quant) {
    StoreNf4Scales(matrix, QuantizeAbsmax(absmax.cpu()));
  } else {
    StoreNf4Absmax(matrix, absmax);
  }
  return matrix;
}

// What the kernels work on; a GPU goes through several in turn.
struct Set {
  explicit Set(const at::TensorOptions& options) {
    x = at::randn({kRows, kColumns}, options) * 0.02, y = at::empty_like(x);
    wide = at::empty({kRows, kColumns}, options.dtype(at::kFloat));
    part = wide.flatten().narrow(0, 0, 1024 * 4096).view({1024, 4096});
    codes = at::empty({kElements / 2}, options.dtype(at::kByte));
    absmax = at::empty({kElements / 64}, options.dtype(at::kFloat));
  }
  at::Tensor x, y, wide, part, codes, absmax;
  Nf4Matrix matrix;
};

class Bench {
 public:
  explicit Bench(c10::Device device) : device_(device) {
    const auto options = at::TensorOptions(device).dtype(at::kBFloat16);
    const double codes = static_cast<double>(kElements) / 2;  // the smallest of a set
    for (int i = 0; i < RotatingSets(device, codes); ++i) sets_.emplace_back(options);
    const auto bytes = static_cast<double>(sets_[0].x.nbytes());
    copy_ = 2.0 * bytes / SecondsOf([](Set& s) { Copy(s.x, s.y); });
    std::printf("%s, %d threads: copy of %.0f MB %.1f GB/s\n", device.str().c_str(),
                device.is_cuda() ? 1 : at::get_num_threads(), bytes * 1e-6, copy_ * 1e-9);
  }

  void Run() {
    for (const bool nested : {true, false}) Dequantise(nested);
    const Set& first = sets_[0];
    const auto results = static_cast<double>(first.codes.nbytes() + first.absmax.nbytes());
    Report("quantise bfloat16", static_cast<double>(first.x.nbytes()) + results,
           [](Set& s) { QuantizeNf4Blocks(s.x, 64, s.codes, s.absmax); });
    for (Set& set : sets_) set.wide.copy_(set.x);
    Report("quantise float32", static_cast<double>(first.wide.nbytes()) + results,
           [](Set& s) { QuantizeNf4Blocks(s.wide, 64, s.codes, s.absmax); });
    if (device_.is_cuda()) return;
    Report("scales to 8 bits", static_cast<double>(first.absmax.nbytes()) * 1.25,
           [](Set& s) { QuantizeAbsmax(s.absmax); });
  }

 private:
  double SecondsOf(const std::function<void(Set&)>& body) {
    return Seconds(device_, static_cast<int>(sets_.size()),
                   [&](int set) { return body(sets_[static_cast<size_t>(set)]), at::Tensor(); });
  }

  void Report(const std::string& name, double bytes, const std::function<void(Set&)>& body) {
    const double seconds = SecondsOf(body), rate = bytes / seconds;
    std::printf("  %-44s %8.3f ms %8.1f GB/s  %.2f of copy\n", name.c_str(), seconds * 1e3,
                rate * 1e-9, rate / copy_);
  }

  void Dequantise(bool nested) {
    for (Set& set : sets_) set.matrix = Quantized(set.x, nested);
    const Range rows{0, kRows}, columns{0, kColumns}, some_rows{1024, 1024},
        some_columns{2048, 4096};
    const Set& first = sets_[0];
    const auto packed = static_cast<double>(first.matrix.layout.bytes);
    const std::string scales = nested ? ", nested scales" : ", float32 scales";
    Report("dequantise to bfloat16" + scales, packed + static_cast<double>(first.y.nbytes()),
           [&](Set& s) { DequantizeNf4(s.matrix, rows, columns, s.y); });
    Report("dequantise to float32" + scales, packed + static_cast<double>(first.wide.nbytes()),
           [&](Set& s) { DequantizeNf4(s.matrix, rows, columns, s.wide); });
    Report("1024 x 4096 of it to float32" + scales,
           packed / 16 + static_cast<double>(first.part.nbytes()),
           [&](Set& s) { DequantizeNf4(s.matrix, some_rows, some_columns, s.part); });
  }

  c10::Device device_;
  std::vector<Set> sets_;
  double copy_ = 0;
};

}  // namespace
}  // namespace fttrain

int main(int argc, char** argv) {
  const c10::Device device = fttrain::BenchDevice(argc > 1 ? argv[1] : "cpu");
  if (argc > 2) at::set_num_threads(std::atoi(argv[2]));
  fttrain::Bench(device).Run();
}
