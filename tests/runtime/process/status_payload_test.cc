#include "runtime/process/status_payload.h"

#include <gmock/gmock.h>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

using namespace std::string_literals;

absl::Status WithTwoPayloads() {
  absl::Status status = absl::DataLossError("line 1\nline\0 2: 5:x"s);
  status.SetPayload("a", absl::Cord("1"));
  status.SetPayload("b:7:", absl::Cord("\0\xff"s));
  return status;
}

TEST(Pack, KeepsCodeMessageAndPayloads) {
  for (const absl::Status& status : {WithTwoPayloads(), absl::InternalError(""),
                                     absl::AbortedError(std::string(1000000, 'x'))}) {
    EXPECT_EQ(Unpack(Pack(status)), status);
  }
}

TEST(Pack, WhatItHasNotMadeIsAnError) {
  const std::string packed = Pack(WithTwoPayloads());
  for (const std::string& text :
       {""s, "x"s, "1:7"s, "99999999999999999999:1"s, "18446744073709551615:1"s, "1:x0:"s,
        packed.substr(0, packed.size() - 1), packed + "1:x"}) {
    EXPECT_EQ(Unpack(text).code(), absl::StatusCode::kInternal) << text;
  }
}

TEST(Origin, IsWhatAStatusWasGiven) {
  EXPECT_FALSE(OriginOf(absl::InternalError("x")));
  EXPECT_FALSE(OriginOf(absl::OkStatus()));
  const auto origin = OriginOf(WithOrigin(WithTwoPayloads(), {3, "a host", 4711}));
  ASSERT_TRUE(origin);
  EXPECT_EQ(origin->rank, 3);
  EXPECT_EQ(origin->host, "a host");
  EXPECT_EQ(origin->pid, 4711);
}

TEST(WithPayloadsOf, TakesThemAllAndNothingElse) {
  const absl::Status status = WithPayloadsOf(WithTwoPayloads(), absl::NotFoundError("new"));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "new");
  EXPECT_EQ(std::string(*status.GetPayload("a")), "1");
  EXPECT_TRUE(status.GetPayload("b:7:"));
}

}  // namespace
}  // namespace fttrain
