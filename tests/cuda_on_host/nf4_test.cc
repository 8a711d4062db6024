// model/nf4/quantize.cu and dequantize.cu on a grid of fibers: the CPU's results bit for bit, for
// slices and rectangles that begin and end anywhere.
#include "model/nf4/nf4.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "model/nf4/dispatch.h"
#include "runtime/math/dynamic_map.h"
#include "tests/cuda_on_host/guarded.h"

namespace fttrain::cuda_on_host {
namespace {

constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble};

std::vector<uint8_t> BytesOf(const at::Tensor& x) {
  const auto* bytes = static_cast<const uint8_t*>(x.const_data_ptr());
  return std::vector<uint8_t>(bytes, bytes + x.nbytes());
}
// A tensor's values in a guarded buffer. Elements of `size` bytes.
class GuardedTensor {
 public:
  GuardedTensor(const std::string& name, const at::Tensor& values, Placement placement)
      : bytes_(name, values.nbytes(), values.element_size(), placement),
        tensor_(at::from_blob(bytes_.data(), values.sizes(), values.options())) {
    tensor_.copy_(values);
  }
  const at::Tensor& tensor() const { return tensor_; }
  std::vector<uint8_t> Values() const {
    bytes_.CheckSurroundings();
    return BytesOf(tensor_);
  }

 private:
  GuardedBytes bytes_;
  at::Tensor tensor_;
};

// Values of every magnitude; blocks of zeros, and of denormals.
at::Tensor Values(int64_t rows, int64_t columns, at::ScalarType type) {
  at::Tensor x = at::empty({rows, columns}, at::kFloat);
  auto* data = x.mutable_data_ptr<float>();
  for (int64_t i = 0; i < x.numel(); ++i) {
    const auto block = static_cast<int>(i / 64 % 7);
    const float sine = static_cast<float>(std::sin(static_cast<double>(i) * 1.7));
    data[i] = block == 3 ? 0.0F : block == 5 ? std::ldexp(sine, -140) : std::ldexp(sine, -block);
  }
  return x.to(type);
}

TEST(Nf4CudaKernel, QuantisesToTheCpusBits) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const int64_t block_size : {32, 64, 128, 256, 512, 4096}) {
      for (const int64_t count : {1, 31, 64, 337, 4097, 8192}) {
        for (const Placement placement : kPlacements) {
          SCOPED_TRACE(testing::Message() << type << ", " << count << " in blocks of " << block_size
                                          << ", " << testing::PrintToString(placement));
          const at::Tensor values = Values(1, count, type).view({-1});
          const at::Tensor codes = at::zeros({(count + 1) / 2}, at::kByte),
                           absmax = at::zeros({(count + block_size - 1) / block_size});
          const GuardedTensor from("values", values, placement),
              got_codes("codes", codes, placement), got_absmax("absmax", absmax, placement);
          QuantizeNf4Blocks(values, block_size, codes, absmax);
          cuda::QuantizeNf4Blocks(DtypeOf(type), from.tensor().const_data_ptr(), count, block_size,
                                  got_codes.tensor().mutable_data_ptr<uint8_t>(),
                                  got_absmax.tensor().mutable_data_ptr<float>(), nullptr);
          EXPECT_EQ(got_codes.Values(), BytesOf(codes));
          EXPECT_EQ(got_absmax.Values(), BytesOf(absmax));
        }
      }
    }
  }
}

// A slice of a matrix, quantised on the CPU.
struct Slice {
  int64_t rows, columns;  // of the whole
  int dim;                // -1: the whole
  int64_t offset, extent;
};
const Slice kSlices[] = {{6, 64, -1, 0, 0},        {5, 40, -1, 0, 0},  {12, 2080, -1, 0, 0},
                         {9, 96, 0, 3, 4},         {7, 37, 0, 2, 5},   {4, 192, 1, 64, 64},
                         {3, 4224, 1, 2112, 2112}, {5, 90, 1, 30, 45}, {4, 77, 1, 33, 11}};

struct Quantized {
  at::Tensor codes;  // of the whole
  Nf4Matrix slice;
};
Quantized Quantize(const Slice& s, const Nf4Options& options) {
  const at::Tensor values = Values(s.rows, s.columns, at::kFloat).view({-1});
  const int64_t count = values.numel();
  const at::Tensor codes = at::zeros({(count + 1) / 2}, at::kByte),
                   absmax = at::zeros({(count + options.block_size - 1) / options.block_size});
  QuantizeNf4Blocks(values, options.block_size, codes, absmax);
  const std::vector<int64_t> shape = {s.rows, s.columns};
  const ParamSlice param =
      s.dim < 0 ? WholeParam("w", shape) : SlicedParam("w", shape, s.dim, s.offset, s.extent);
  Nf4Matrix matrix{.layout = MakeNf4Layout(param, options), .bytes = {}};
  matrix.bytes = at::zeros({matrix.layout.bytes}, at::kByte);
  StoreNf4Codes(matrix, 0, count, codes);
  if (options.double_quant) {
    StoreNf4Scales(matrix, QuantizeAbsmax(absmax));
  } else {
    StoreNf4Absmax(matrix, absmax);
  }
  return {codes, matrix};
}

// Options and placements, each with each other over the cases of a test.
struct Cycle {
  int64_t made = 0;
  Nf4Options Options() {
    const int64_t i = made++;
    return {.block_size = std::vector<int64_t>{32, 64, 2048}[static_cast<size_t>(i % 3)],
            .double_quant = i / 3 % 2 == 0,
            .rounding = kTypes[i / 6 % 3]};
  }
};

TEST(Nf4CudaKernel, DequantisesToTheCpusBits) {
  Cycle cycle;
  for (const Slice& slice : kSlices) {
    for (int variant = 0; variant < 6; ++variant) {
      const Quantized quantized = Quantize(slice, cycle.Options());
      const Nf4Layout& layout = quantized.slice.layout;
      const GuardedTensor bytes("bytes", quantized.slice.bytes, {variant % 2 == 0, true});
      const Nf4Matrix guarded{.layout = layout, .bytes = bytes.tensor()};
      const int64_t middle = layout.columns / 64 * 32;
      const std::pair<Range, Range> rectangles[] = {
          {{0, layout.rows}, {0, layout.columns}},
          {{1, layout.rows - 1}, {0, layout.columns}},
          {{0, layout.rows}, {middle, layout.columns - middle}},
          {{1, 2}, {3, layout.columns - 3}},
          {{2, 1}, {layout.columns - 1, 1}}};
      for (const auto& [rows, columns] : rectangles) {
        const at::ScalarType type = kTypes[cycle.made++ % 4];
        for (const Placement placement : kPlacements) {
          SCOPED_TRACE(testing::Message()
                       << "slice " << &slice - kSlices << ", blocks of "
                       << layout.options.block_size << ", rows " << rows.offset << " + "
                       << rows.extent << ", columns " << columns.offset << " + " << columns.extent
                       << ", " << type << ", " << testing::PrintToString(placement));
          const at::Tensor want = at::empty({rows.extent, columns.extent}, type);
          DequantizeNf4(quantized.slice, rows, columns, want);
          const GuardedTensor out("out", at::full_like(want, 77.0), placement);
          const Nf4Rectangle rectangle = RectangleOf(layout, rows, columns, out.tensor());
          cuda::DequantizeNf4(CudaSourceOf(guarded), rectangle, SignedDynamicMap().data(),
                              DtypeOf(type), out.tensor().mutable_data_ptr(), nullptr);
          EXPECT_EQ(out.Values(), BytesOf(want));
        }
      }
    }
  }
}

TEST(Nf4CudaKernel, StoresTheCodesThatTheCpuStores) {
  Cycle cycle;
  for (const Slice& slice : kSlices) {
    const Quantized quantized = Quantize(slice, cycle.Options());
    const Nf4Layout& layout = quantized.slice.layout;
    const int64_t elements = slice.rows * slice.columns;
    for (const int64_t piece : {int64_t{2}, int64_t{38}, elements + elements % 2}) {
      if (elements / piece > 150) continue;
      SCOPED_TRACE(testing::Message() << "slice " << &slice - kSlices << " by " << piece);
      const GuardedTensor to("codes", at::zeros({(layout.elements() + 1) / 2}, at::kByte),
                             {piece % 4 == 0, false});
      for (int64_t first = 0; first < elements; first += piece) {
        const int64_t count = std::min(piece, elements - first);
        const GuardedTensor from(
            "piece", quantized.codes.narrow(0, first / 2, (count + 1) / 2).clone(), {true, false});
        cuda::StoreNf4Codes(
            from.tensor().const_data_ptr<uint8_t>(), first, count,
            {layout.runs, layout.run_elements, layout.first_element, layout.whole_columns},
            to.tensor().mutable_data_ptr<uint8_t>(), nullptr);
      }
      EXPECT_EQ(to.Values(), BytesOf(quantized.slice.bytes.narrow(0, 0, to.tensor().numel())));
    }
  }
}

}  // namespace
}  // namespace fttrain::cuda_on_host
