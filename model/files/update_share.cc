#include "model/files/update_share.h"

#include <ATen/ATen.h>

#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

// What NF4 makes of a matrix, in float32.
at::Tensor ThroughNf4(const at::Tensor& values, const Nf4Options& options) {
  const at::Tensor flat = values.to(options.rounding).contiguous().view({-1});
  const at::Tensor codes = at::empty({CeilDivide(flat.numel(), int64_t{2})}, at::kByte);
  const at::Tensor absmax = at::empty({CeilDivide(flat.numel(), options.block_size)}, at::kFloat);
  QuantizeNf4Blocks(flat, options.block_size, codes, absmax);
  const Nf4Options plain{options.block_size, /*double_quant=*/false, options.rounding};
  Nf4Matrix matrix;
  matrix.layout = MakeNf4Layout(WholeParam("piece", values.sizes().vec()), plain);
  matrix.bytes = at::zeros({matrix.layout.bytes}, at::kByte);
  StoreNf4Codes(matrix, 0, flat.numel(), codes);
  StoreNf4Absmax(matrix, absmax);
  const at::Tensor out = at::empty(values.sizes(), at::kFloat);
  DequantizeNf4(matrix, {0, values.size(0)}, {0, values.size(1)}, out);
  return out;
}

}  // namespace

UpdateShare& UpdateShare::operator+=(const UpdateShare& other) {
  along += other.along;
  squared += other.squared;
  return *this;
}

UpdateShare ShareOfUpdate(const at::Tensor& values, const at::Tensor& updated,
                          const at::Tensor& stored, const Nf4Options* nf4) {
  const auto flat = [&](const at::Tensor& tensor) {
    return tensor.to(updated.scalar_type()).contiguous().view({-1});
  };
  const at::Tensor update = updated.view({-1}) - flat(values);
  const at::Tensor arrived = nf4 == nullptr
                                 ? flat(stored) - flat(values)
                                 : flat(ThroughNf4(stored, *nf4)) - flat(ThroughNf4(values, *nf4));
  // Sums in float64, of a piece of some MiB.
  const auto sum = [](const at::Tensor& product) {
    return product.sum(at::kDouble).item<double>();
  };
  return {sum(update * arrived), sum(update * update)};
}

}  // namespace fttrain
