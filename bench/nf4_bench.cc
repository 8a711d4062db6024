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

void Run(c10::Device device) {
  const auto options = at::TensorOptions(device).dtype(at::kBFloat16);
  const at::Tensor x = at::randn({kRows, kColumns}, options) * 0.02, y = at::empty_like(x);
  const at::Tensor wide = at::empty({kRows, kColumns}, options.dtype(at::kFloat));
  const double copy = 2.0 * static_cast<double>(x.nbytes()) / Seconds(device, [&] { Copy(x, y); });
  std::printf("%s, %d threads: copy of %.0f MB %.1f GB/s\n", device.str().c_str(),
              device.is_cuda() ? 1 : at::get_num_threads(), static_cast<double>(x.nbytes()) * 1e-6,
              copy * 1e-9);
  const auto report = [&](const char* name, double bytes, const std::function<void()>& body) {
    const double seconds = Seconds(device, body), rate = bytes / seconds;
    std::printf("  %-44s %8.3f ms %8.1f GB/s  %.2f of copy\n", name, seconds * 1e3, rate * 1e-9,
                rate / copy);
  };
  const Range rows{0, kRows}, columns{0, kColumns}, some_rows{1024, 1024}, some_columns{2048, 4096};
  for (const bool nested : {true, false}) {
    const Nf4Matrix matrix = Quantized(x, nested);
    const auto packed = static_cast<double>(matrix.layout.bytes);
    const char* scales = nested ? "nested scales" : "float32 scales";
    const auto name = [&](const char* what) { return std::string(what) + ", " + scales; };
    report(name("dequantise to bfloat16").c_str(), packed + static_cast<double>(y.nbytes()),
           [&] { DequantizeNf4(matrix, rows, columns, y); });
    report(name("dequantise to float32").c_str(), packed + static_cast<double>(wide.nbytes()),
           [&] { DequantizeNf4(matrix, rows, columns, wide); });
    const at::Tensor part = wide.flatten().narrow(0, 0, 1024 * 4096).view({1024, 4096});
    report(name("1024 x 4096 of it to float32").c_str(),
           packed / 16 + static_cast<double>(part.nbytes()),
           [&] { DequantizeNf4(matrix, some_rows, some_columns, part); });
  }
  const at::Tensor codes = at::empty({kElements / 2}, options.dtype(at::kByte));
  const at::Tensor absmax = at::empty({kElements / 64}, options.dtype(at::kFloat));
  const auto results = static_cast<double>(codes.nbytes() + absmax.nbytes());
  report("quantise bfloat16", static_cast<double>(x.nbytes()) + results,
         [&] { QuantizeNf4Blocks(x, 64, codes, absmax); });
  wide.copy_(x);
  report("quantise float32", static_cast<double>(wide.nbytes()) + results,
         [&] { QuantizeNf4Blocks(wide, 64, codes, absmax); });
  const at::Tensor host = absmax.cpu();
  report("scales to 8 bits (CPU)", static_cast<double>(host.nbytes()) * 1.25,
         [&] { QuantizeAbsmax(host); });
}

}  // namespace
}  // namespace fttrain

int main(int argc, char** argv) {
  const c10::Device device(argc > 1 ? argv[1] : "cpu");
  if (argc > 2) at::set_num_threads(std::atoi(argv[2]));
  if (device.is_cuda() && !at::hasCUDA()) {
    std::printf("no GPU: the CUDA kernels were not timed\n");
    return 0;
  }
  fttrain::Run(device);
}
