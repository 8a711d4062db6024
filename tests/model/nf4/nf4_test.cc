// NF4 against bitsandbytes (tests/golden/nf4.json), against itself by slices, instruction sets and
// thread counts.
#include "model/nf4/nf4.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/nf4/kernels.h"
#include "model/nf4/math.h"
#include "runtime/math/dynamic_map.h"
#include "tests/golden_path.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

using Json = nlohmann::json;

// FNV-1a, 64 bits, as make_nf4_golden.py prints it.
std::string Hash(const at::Tensor& tensor) {
  const at::Tensor x = tensor.cpu().contiguous();
  const auto* bytes = static_cast<const uint8_t*>(x.const_data_ptr());
  uint64_t hash = 0xcbf29ce484222325U;
  for (size_t i = 0; i < x.nbytes(); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3U;
  char text[17];
  std::snprintf(text, sizeof(text), "%016lx", static_cast<unsigned long>(hash));
  return text;
}

// The inputs of make_nf4_golden.py, on the CPU.
float NearThreshold(int64_t index) {
  const float middle = MakeNf4Table().thresholds[index / 3 % 15];
  if (index == 45) return 1.0F;
  return index % 3 == 1 ? middle : std::nextafter(middle, index % 3 == 0 ? -2.0F : 2.0F);
}
float GoldenValue(const std::string& kind, int64_t i, int64_t columns, bool half) {
  if (kind == "constant") return -0.375F;
  if (kind == "zero" || (kind == "holes" && i / 128 % 3 == 1)) return 0.0F;
  if (kind == "thresholds") {
    if (i % 32 == 31) return 1.0F;
    return NearThreshold(columns % 32 != 0 ? i % 32 : (i + i / 32 * 7) % 46);
  }
  auto k = static_cast<uint32_t>(static_cast<uint64_t>(i) * 2654435761U + 40503U);
  k ^= k >> 15;
  k *= 2246822519U;
  k ^= k >> 13;
  const float u = static_cast<float>(static_cast<int64_t>(k >> 8) - (1 << 23)) / 8388608.0F;
  const float x = u * u * u;
  if (kind == "holes") return x;
  const int exponent = kind == "random"     ? -5
                       : kind == "tiny"     ? (half ? -14 : -120)
                       : kind == "denormal" ? (half ? -18 : -128)
                                            : (half ? 15 : 112);
  return std::ldexp(x, exponent);
}
at::Tensor GoldenMatrix(const std::string& kind, int64_t rows, int64_t columns,
                        at::ScalarType type) {
  at::Tensor x = at::empty({rows, columns}, at::kFloat);
  auto* data = x.mutable_data_ptr<float>();
  for (int64_t i = 0; i < x.numel(); ++i) {
    data[i] = GoldenValue(kind, i, columns, type == at::kHalf);
  }
  return x.to(type);
}
at::Tensor Random(int64_t rows, int64_t columns, at::ScalarType type = at::kBFloat16) {
  return GoldenMatrix("random", rows, columns, type);
}
at::ScalarType TypeOf(const std::string& name) {
  return name == "float32" ? at::kFloat : name == "bfloat16" ? at::kBFloat16 : at::kHalf;
}

// A matrix quantised whole.
struct Quantized {
  at::Tensor codes, absmax;  // on the test's device; on the CPU
  Nf4Scales scales;
  int64_t rows, columns;
  Nf4Options options;
};
Quantized QuantizeWhole(const at::Tensor& values, const Nf4Options& options) {
  const at::Tensor x = values.to(TestDevice());
  const int64_t blocks = (x.numel() + options.block_size - 1) / options.block_size;
  Quantized q{.codes = at::zeros({(x.numel() + 1) / 2}, x.options().dtype(at::kByte)),
              .absmax = at::zeros({blocks}, x.options().dtype(at::kFloat)),
              .scales = {},
              .rows = values.size(0),
              .columns = values.size(1),
              .options = options};
  QuantizeNf4Blocks(x, options.block_size, q.codes, q.absmax);
  q.absmax = q.absmax.cpu();
  if (options.double_quant) q.scales = QuantizeAbsmax(q.absmax);
  return q;
}

// A slice of it; codes come in pieces of `piece` elements.
Nf4Matrix SliceOf(const Quantized& q, int dim, int64_t offset, int64_t extent,
                  int64_t piece = 1 << 20) {
  const ParamSlice slice = dim < 0 ? WholeParam("w", {q.rows, q.columns})
                                   : SlicedParam("w", {q.rows, q.columns}, dim, offset, extent);
  Nf4Matrix matrix{.layout = MakeNf4Layout(slice, q.options), .bytes = {}};
  matrix.bytes = at::zeros({matrix.layout.bytes}, q.codes.options());
  const int64_t elements = q.rows * q.columns;
  for (int64_t first = 0; first < elements; first += piece) {
    const int64_t count = std::min(piece, elements - first);
    StoreNf4Codes(matrix, first, count, q.codes.narrow(0, first / 2, (count + 1) / 2));
  }
  if (q.options.double_quant) {
    StoreNf4Scales(matrix, q.scales);
  } else {
    StoreNf4Absmax(matrix, q.absmax);
  }
  return matrix;
}
Nf4Matrix WholeOf(const Quantized& q) { return SliceOf(q, -1, 0, 0); }

at::Tensor Values(const Nf4Matrix& matrix, at::ScalarType type) {
  const Nf4Layout& layout = matrix.layout;
  at::Tensor out =
      at::full({layout.rows, layout.columns}, 77.0, matrix.bytes.options().dtype(type));
  DequantizeNf4(matrix, {0, layout.rows}, {0, layout.columns}, out);
  return out;
}

bool SameBits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.cpu().contiguous(), y = b.cpu().contiguous();
  return x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

Json Golden() {
  std::ifstream in(GoldenPath("nf4.json"));
  EXPECT_TRUE(in);
  return Json::parse(in).at("cases");
}

TEST(Nf4, CodesAndScalesEqualBitsandbytes) {
  for (const Json& want : Golden()) {
    SCOPED_TRACE(want.dump());
    const at::Tensor x =
        GoldenMatrix(want["kind"], want["rows"], want["columns"], TypeOf(want["dtype"]));
    const Quantized q = QuantizeWhole(x, {want["block_size"], want["double_quant"]});
    EXPECT_EQ(Hash(q.codes), want["codes"]);
    EXPECT_EQ(Hash(q.absmax), want["absmax"]);
    if (!want["double_quant"]) continue;
    uint32_t offset = 0;
    std::memcpy(&offset, &q.scales.offset, sizeof(offset));
    EXPECT_EQ(offset, want["offset"]);
    EXPECT_EQ(Hash(q.scales.groups), want["groups"]);
    EXPECT_EQ(Hash(q.scales.codes), want["scales"]);
  }
}

TEST(Nf4, DequantisedValuesEqualBitsandbytes) {
  for (const Json& want : Golden()) {
    SCOPED_TRACE(want.dump());
    const at::Tensor x =
        GoldenMatrix(want["kind"], want["rows"], want["columns"], TypeOf(want["dtype"]));
    for (const char* name : {"float32", "bfloat16", "float16"}) {
      const at::ScalarType type = TypeOf(name);
      Nf4Options options{want["block_size"], want["double_quant"], at::kFloat};
      const at::Tensor exact = Values(WholeOf(QuantizeWhole(x, options)), type);
      EXPECT_EQ(Hash(exact), want[std::string("as_") + name]) << name;
      options.rounding = type;
      const Nf4Matrix matrix = WholeOf(QuantizeWhole(x, options));
      EXPECT_TRUE(SameBits(Values(matrix, type), exact)) << name;
      // Rounded first, converted then.
      EXPECT_TRUE(SameBits(Values(matrix, at::kFloat), exact.to(at::kFloat))) << name;
      EXPECT_TRUE(SameBits(Values(matrix, at::kDouble), exact.to(at::kDouble))) << name;
    }
  }
}

// Row and column slices of every tensor-parallel size, of matrices whose rows hold whole blocks,
// straddle them, or are odd. (Kv heads that ranks share are row slices of a smaller size.)
struct Shape {
  int64_t rows, columns, block_size;
};
void PrintTo(const Shape& s, std::ostream* out) {
  *out << s.rows << " x " << s.columns << ", blocks of " << s.block_size;
}
class Nf4Slices : public ::testing::TestWithParam<Shape> {};

TEST_P(Nf4Slices, ConcatenatedEqualTheWhole) {
  const auto [rows, columns, block_size] = GetParam();
  for (const bool double_quant : {false, true}) {
    const Quantized q = QuantizeWhole(Random(rows, columns), {block_size, double_quant});
    const at::Tensor whole = Values(WholeOf(q), at::kFloat);
    for (const int tp : {1, 2, 4, 8}) {
      for (const int dim : {0, 1}) {
        std::vector<at::Tensor> parts;
        for (int rank = 0; rank < tp; ++rank) {
          const Range range = EvenRange(dim == 0 ? rows : columns, tp, rank);
          parts.push_back(Values(SliceOf(q, dim, range.offset, range.extent), at::kFloat));
        }
        EXPECT_TRUE(SameBits(at::cat(parts, dim), whole)) << "tp " << tp << " dim " << dim;
      }
    }
  }
}

TEST_P(Nf4Slices, AreTheSameInWhateverPiecesCodesArrive) {
  const auto [rows, columns, block_size] = GetParam();
  const Quantized q = QuantizeWhole(Random(rows, columns), {block_size, true});
  for (const int dim : {0, 1}) {
    const Range range = EvenRange(dim == 0 ? rows : columns, 2, 1);
    const at::Tensor at_once = SliceOf(q, dim, range.offset, range.extent).bytes;
    for (const int64_t piece : {2, 62, 1000}) {
      EXPECT_TRUE(SameBits(SliceOf(q, dim, range.offset, range.extent, piece).bytes, at_once))
          << "dim " << dim << " pieces of " << piece;
    }
  }
}

TEST_P(Nf4Slices, AnyRectangleEqualsThatPartOfTheWhole) {
  const auto [rows, columns, block_size] = GetParam();
  const Quantized q = QuantizeWhole(Random(rows, columns), {block_size, true, at::kBFloat16});
  for (const int dim : {-1, 0, 1}) {
    const Range range = EvenRange(dim == 0 ? rows : columns, 2, 1);
    const Nf4Matrix slice = SliceOf(q, dim, range.offset, range.extent);
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble}) {
      const at::Tensor whole = Values(slice, type);
      for (const Range r : {Range{0, whole.size(0)}, Range{1, 2}, Range{whole.size(0) - 1, 1}}) {
        for (const Range c : {Range{0, whole.size(1)}, Range{3, whole.size(1) - 4},
                              Range{whole.size(1) - 1, 1}, Range{2, 0}}) {
          // Rows farther apart than they are long; what lies between them is kept.
          const at::Tensor room = at::full({r.extent, c.extent + 5}, 7.0, whole.options());
          DequantizeNf4(slice, r, c, room.narrow(1, 2, c.extent));
          at::Tensor want = at::full_like(room, 7.0);
          want.narrow(1, 2, c.extent)
              .copy_(whole.narrow(0, r.offset, r.extent).narrow(1, c.offset, c.extent));
          EXPECT_TRUE(SameBits(room, want)) << "dim " << dim << " rows " << r.offset << " columns "
                                            << c.offset << " + " << c.extent << " " << type;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Nf4Slices,
                         ::testing::Values(Shape{64, 512, 64}, Shape{32, 1024, 128},
                                           Shape{40, 96, 64}, Shape{24, 96, 32}, Shape{16, 33, 64},
                                           Shape{9, 101, 32}, Shape{96, 2080, 64}));

TEST(Nf4, NothingDependsOnTheNumberOfThreads) {
  const at::Tensor x = Random(1000, 1312);  // enough blocks for ATen to split their sum
  const int threads = at::get_num_threads();
  std::vector<Nf4Matrix> slices;
  std::vector<at::Tensor> values;
  for (const int count : {1, 2, 5}) {
    at::set_num_threads(count);
    const Quantized q = QuantizeWhole(x, {32, true});
    slices.push_back(SliceOf(q, 1, 656, 656, 100000));
    values.push_back(Values(slices.back(), at::kBFloat16));
  }
  at::set_num_threads(threads);
  for (const size_t other : {1U, 2U}) {
    EXPECT_TRUE(SameBits(slices[other].bytes, slices[0].bytes));
    EXPECT_TRUE(SameBits(values[other], values[0]));
  }
}

TEST(Nf4, TheOffsetIsTheMeanThatAtenFormsOnOneThread) {
  const at::Tensor absmax = Random(1000, 333, at::kFloat).abs().flatten();
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const float want = absmax.mean().item<float>();
  at::set_num_threads(7);
  const float got = QuantizeAbsmax(absmax).offset;
  EXPECT_EQ(at::get_num_threads(), 7);
  at::set_num_threads(threads);
  EXPECT_EQ(got, want);
}

TEST(Nf4, BytesAreThoseOfTheFormula) {
  // 8192 x 28672 in blocks of 64: half a byte an element, a byte a block, four bytes a group.
  const auto bytes = [](int dim, int64_t offset, int64_t extent, bool double_quant) {
    const ParamSlice slice = dim < 0 ? WholeParam("w", {8192, 28672})
                                     : SlicedParam("w", {8192, 28672}, dim, offset, extent);
    return MakeNf4Layout(slice, {64, double_quant}).bytes;
  };
  const int64_t elements = 8192 * 28672, blocks = elements / 64;
  EXPECT_EQ(bytes(-1, 0, 0, true), elements / 2 + blocks + blocks / 256 * 4 + 16);
  EXPECT_EQ(bytes(-1, 0, 0, false), elements / 2 + blocks * 4);
  EXPECT_NEAR(8.0 * static_cast<double>(bytes(-1, 0, 0, true)) / static_cast<double>(elements),
              4.127, 0.0005);
  EXPECT_EQ(bytes(0, 4096, 4096, true), (elements / 2 + blocks + blocks / 256 * 4) / 2 + 16);
  // A range of columns needs every group.
  EXPECT_EQ(bytes(1, 14336, 14336, true), (elements / 2 + blocks) / 2 + blocks / 256 * 4 + 16);
}

TEST(Nf4, RefusesWhatDoesNotFit) {
  const Quantized q = QuantizeWhole(Random(8, 64), {64, true});
  const Nf4Matrix whole = WholeOf(q);
  const at::Tensor out = at::empty({8, 64}, q.codes.options().dtype(at::kFloat));
  EXPECT_THROW(DequantizeNf4(whole, {0, 9}, {0, 64}, out), c10::Error);
  EXPECT_THROW(DequantizeNf4(whole, {0, 8}, {0, 64}, out.t()), c10::Error);
  EXPECT_THROW(DequantizeNf4(whole, {0, 8}, {0, 64}, out.to(at::kInt)), c10::Error);
  EXPECT_THROW(StoreNf4Codes(whole, 1, 2, q.codes.narrow(0, 0, 1)), c10::Error);
  EXPECT_THROW(StoreNf4Codes(whole, 0, 513, at::zeros({257}, q.codes.options())), c10::Error);
  EXPECT_THROW(StoreNf4Absmax(whole, q.absmax), c10::Error);
  EXPECT_THROW(QuantizeNf4Blocks(out, 48, q.codes, q.absmax), c10::Error);
  EXPECT_THROW(QuantizeNf4Blocks(out.to(at::kDouble), 64, q.codes, q.absmax), c10::Error);
  EXPECT_THROW(QuantizeAbsmax(at::full({2}, INFINITY, at::kFloat)), c10::Error);
}

}  // namespace
}  // namespace fttrain
