#include "runtime/comm/host_board.h"

#include <utility>

#include "runtime/comm/shared_segment.h"
#include "runtime/process/mpi_util.h"

namespace fttrain {

std::unique_ptr<Board> OpenHostBoard(const Process& process) {
  if (process.world() == nullptr) return nullptr;  // a stand-in
  MPI_Comm host = MPI_COMM_NULL;
  if (MPI_Comm_split_type(WorldOf(process), MPI_COMM_TYPE_SHARED, process.rank(), MPI_INFO_NULL,
                          &host) != MPI_SUCCESS) {
    return nullptr;
  }
  Board::Options options{
      .rank = process.rank(), .world_size = process.world_size(), .host = process.host()};
  MPI_Comm_size(host, &options.places);
  MPI_Comm_rank(host, &options.own);
  std::shared_ptr<SharedSegment> segment =
      SharedSegment::Create(host, Board::BytesFor(options.places));
  MPI_Comm_free(&host);
  if (segment == nullptr) return nullptr;
  char* const memory = segment->data();
  return std::make_unique<Board>(std::shared_ptr<char>(std::move(segment), memory), options);
}

}  // namespace fttrain
