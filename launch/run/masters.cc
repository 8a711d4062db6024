#include "launch/run/masters.h"

#include <ATen/ATen.h>

#include "launch/exit_code.h"
#include "model/files/part_loader.h"
#include "model/files/slice_reader.h"
#include "model/files/tensor_io.h"
#include "model/matmul/tensor_rows.h"
#include "runtime/files/safetensors.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

absl::Status LoadPart(const SafetensorsFolder& files, const ParamSlice& slice,
                      const StatePiece& piece) {
  FT_ASSIGN_OR_RETURN(const at::ScalarType dtype, PartDtype(files, slice.name));
  if (dtype == at::kBFloat16) return absl::OkStatus();
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::Tensor values = at::empty(slice.LocalShape(), at::TensorOptions(dtype));
  FT_RETURN_IF_ERROR(LoadPartInto(files, slice, values));
  piece.values.copy_(values.view({-1}).narrow(0, piece.of_slice.begin, piece.of_slice.size()));
  return absl::OkStatus();
}

}  // namespace

absl::Status LoadMasters(Optimizer& optimizer, const Task& task) {
  if (!task.form.train_base || task.form.compute != at::kBFloat16) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(const auto files, FromFile(SafetensorsFolder::Open(task.model_path)));
  return optimizer.VisitState([&](const StatePiece& piece) -> absl::Status {
    if (piece.kind != StateKind::kMaster) return absl::OkStatus();
    const ParamSlice slice = SliceInFile(piece.slice);
    if (PartOfName(slice.name)) return LoadPart(*files, slice, piece);
    const at::ScalarType dtype = *FloatTypeOf(files->Find(slice.name)->dtype);
    if (dtype == at::kBFloat16) return absl::OkStatus();
    const SliceRuns runs = RunsOf(slice.global_shape, slice.dim, slice.offset, slice.extent);
    const auto take = [&](int64_t first, const at::Tensor& host) {
      const FlatRange mine = Intersect({first, first + host.numel()}, piece.of_slice);
      if (mine.size() == 0) return absl::OkStatus();
      piece.values.narrow(0, mine.begin - piece.of_slice.begin, mine.size())
          .copy_(host.narrow(0, mine.begin - first, mine.size()), /*non_blocking=*/true);
      return absl::OkStatus();
    };
    return ReadByPieces(*files, slice.name, runs, dtype, piece.values.device(), take);
  });
}

}  // namespace fttrain
