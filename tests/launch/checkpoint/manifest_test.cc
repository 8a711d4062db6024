#include "launch/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "absl/strings/match.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using enum absl::StatusCode;

const std::string kHash(64, 'a');

// Two ranks' halves of a tensor [4, 6], the first in two parts, and the scales of 8-bit codes.
Manifest Sound() {
  Manifest manifest;
  manifest.step = 12;
  manifest.files = {{"shard-r0000.safetensors", 400, kHash, "node-1"},
                    {"shard-r0001.safetensors", 400, kHash, ""}};
  const ManifestTensor part = {.name = "w",
                               .kind = "master",
                               .dtype = "F32",
                               .global_shape = {4, 6},
                               .dim = 0,
                               .offset = 0,
                               .extent = 2,
                               .begin = 0,
                               .end = 8,
                               .numel = 8,
                               .file = "shard-r0000.safetensors",
                               .data_begin = 100,
                               .data_end = 132};
  ManifestTensor rest = part, other = part, scale = part;
  rest.begin = 8, rest.end = 12, rest.numel = 4, rest.data_begin = 132, rest.data_end = 148;
  other.offset = 2, other.file = "shard-r0001.safetensors";
  scale.kind = "exp_avg_scale", scale.numel = 1, scale.data_begin = 200, scale.data_end = 204;
  manifest.tensors = {part, rest, other, scale};
  manifest.digests["base"] = "12ab";
  manifest.versions["torch"] = "2.11.0";
  manifest.layout = "tensor 2, pipeline 1";
  manifest.notes["note"] = "ä\n\"quoted\"";
  return manifest;
}

TEST(Manifest, TextAndBackIsTheSame) {
  const std::string text = ManifestText(Sound()).value();
  const absl::StatusOr<Manifest> read = ParseManifest(text, "m");
  ASSERT_EQ(read.status(), absl::OkStatus());
  EXPECT_EQ(ManifestText(*read).value(), text);
  EXPECT_EQ(read->step, 12);
  EXPECT_EQ(read->files[0].host, "node-1");
  EXPECT_THAT(read->tensors[1].global_shape, ElementsAre(4, 6));
  EXPECT_EQ(read->tensors[1].begin, 8);
  EXPECT_EQ(read->tensors[3].kind, "exp_avg_scale");
  EXPECT_EQ(read->notes.at("note"), "ä\n\"quoted\"");
  EXPECT_EQ(read->layout, "tensor 2, pipeline 1");
}

TEST(Manifest, ScalarsAndEmptyListsAreFine) {
  Manifest manifest;
  EXPECT_THAT(ParseManifest(ManifestText(manifest).value(), "m")->tensors, IsEmpty());
  manifest.files = {{"a", 8, kHash, ""}};
  manifest.tensors = {{.name = "step",
                       .kind = "counter",
                       .dtype = "I64",
                       .global_shape = {},
                       .end = 1,
                       .numel = 1,
                       .file = "a",
                       .data_begin = 0,
                       .data_end = 8}};
  EXPECT_EQ(ManifestText(manifest).status(), absl::OkStatus());
}

struct Golden {
  const char* from;  // in Sound()'s text; its first occurrence
  const char* to;
  const char* says;
};

// Every refusal names the file and the key.
const Golden kBad[] = {
    {"\"step\":12", "\"step\":-1", "step: -1 is not in [0, "},
    {"\"step\":12", "\"step\":1.0", "step: an integer is needed"},
    {"\"step\":12", "\"step\":1e3", "step: an integer is needed"},
    {"\"step\":12", "\"step\":18446744073709551615", "step: 9223372036854775807 is not in"},
    {"\"step\":12", "\"step\":\"12\"", "step: an integer is needed"},
    {"\"step\":12", "\"step\":12,\"steps\":1", "key 'steps' is not known"},
    {"\"step\":12", "\"step\":12,\"step\":12", "key 'step' appears twice"},
    {",\"step\":12", "", "step: an integer is needed"},
    {"\"format_version\":1", "\"format_version\":0", "format_version: 0 is not in"},
    {"\"format_version\":1", "\"format_version\":true", "format_version: an integer is needed"},
    {"\"digests\":{\"base\":\"12ab\"}", "\"digests\":[]", "digests: an object is needed"},
    {"\"base\":\"12ab\"", "\"base\":12", "digests.base: a string is needed"},
    {"\"layout\":\"tensor 2, pipeline 1\"", "\"layout\":null", "layout: a string is needed"},
    {"\"bytes\":400", "\"bytes\":-400", "files[0].bytes: -400 is not in"},
    {"\"bytes\":400", "\"bytes\":147", "tensors[1].data_end: [132, 148) is not inside"},
    {"\"host\":\"node-1\"", "\"hots\":\"node-1\"", "files[0]: key 'hots' is not known"},
    {"\"name\":\"shard-r0000.safetensors\"", "\"name\":\"../shard\"", "is no plain file name"},
    {"\"name\":\"shard-r0000.safetensors\"", "\"name\":\"COMMIT\"", "files[0].name: 'COMMIT'"},
    {"\"name\":\"shard-r0000.safetensors\"", "\"name\":\".hidden\"", "files[0].name: '.hidden'"},
    {"\"name\":\"shard-r0000.safetensors\"", "\"name\":\"\"", "files[0].name: ''"},
    {"\"name\":\"shard-r0000.safetensors\"", "\"name\":\"a\\u0000b\"", "files[0].name: 'a"},
    {"\"name\":\"shard-r0000.safetensors\"", "\"name\":\"shard-r0001.safetensors\"",
     "files[1].name: 'shard-r0001.safetensors' appears twice"},
    {"\"sha256\":\"aaaa", "\"sha256\":\"aaaA", "files[0].sha256: 64 lower-case"},
    {"\"sha256\":\"aaaa", "\"sha256\":\"aaa", "files[0].sha256: 64 lower-case"},
    {"\"dtype\":\"F32\"", "\"dtype\":\"F33\"", "tensors[0].dtype: 'F33' is no dtype"},
    {"\"dtype\":\"F32\"", "\"dtype\":\"F64\"", "tensors[0].data_end: 32 bytes for 8 values of 8"},
    {"\"kind\":\"master\"", "\"kind\":\"Master|1\"", "tensors[0].kind: 'Master|1'"},
    {"\"name\":\"w\"", "\"name\":\"\"", "tensors[0].name: not of 1 to 4000 bytes"},
    {"\"dim\":0", "\"dim\":2", "tensors[0].dim: 2 of a tensor of 2 dimensions"},
    {"\"dim\":0", "\"dim\":-2", "tensors[0].dim: -2 is not in"},
    {"\"dim\":0", "\"dim\":-1", "tensors[0].offset: dim -1 is all of the tensor"},
    {"\"extent\":2", "\"extent\":5", "tensors[0].extent: 5 from 0 on, of dimension 0, which has 4"},
    {"\"extent\":2", "\"extent\":4611686018427387904",
     "tensors[0].extent: 4611686018427387904 from"},
    {"\"offset\":0", "\"offset\":3", "tensors[0].extent: 2 from 3 on"},
    {"\"end\":8", "\"end\":13", "tensors[0].end: [0, 13) is not inside a slice of 12 elements"},
    {"\"begin\":0", "\"begin\":9", "tensors[0].end: [9, 8)"},
    {"\"numel\":8", "\"numel\":9", "tensors[0].numel: 9 values for 8 elements"},
    {"\"numel\":8", "\"numel\":7", "tensors[0].data_end: 32 bytes for 7 values"},
    {"\"file\":\"shard-r0000.safetensors\"", "\"file\":\"shard\"",
     "tensors[0].file: 'shard' is none of the checkpoint's files"},
    {"\"data_begin\":100,\"data_end\":132", "\"data_begin\":104,\"data_end\":136",
     "tensors[1].data_begin: 132 in shard-r0000.safetensors is inside tensors[0]"},
    {"\"data_begin\":100,\"data_end\":132", "\"data_begin\":132,\"data_end\":100",
     "tensors[0].data_end: [132, 100)"},
    {"\"data_begin\":100,\"data_end\":132", "\"data_begin\":390,\"data_end\":422",
     "tensors[0].data_end: [390, 422) is not inside shard-r0000.safetensors, which has 400"},
    {"\"begin\":8", "\"begin\":7", "tensors[1].begin: [7, 12) of w is in tensors[0] too"},
    {"\"global_shape\":[4,6]", "\"global_shape\":[4,7]", "is not what tensors[0] says of w"},
    {"\"global_shape\":[4,6]", "\"global_shape\":[4,-6]", "tensors[0].global_shape[1]: -6"},
    {"\"global_shape\":[4,6]", "\"global_shape\":[4,6,1,1,1,1,1,1,1]", "more than 8 numbers"},
    {"\"global_shape\":[4,6]", "\"global_shape\":[4,4611686018427387904]",
     "tensors[0].global_shape: not at most 8 dimensions and 2^63 - 1 elements"},
    {"\"global_shape\":[4,6]", "\"global_shape\":4", "tensors[0].global_shape: an array is needed"},
    {"{\"digests\"", "[{\"digests\"", "syntax error"},
    {"{\"digests\"", "\xff{\"digests\"", "syntax error"},
    {"\"tensors\":[", "\"tensors\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "nested deeper than 32"},
};

TEST(Manifest, WhatIsWrongIsRefusedWithFileAndKey) {
  const std::string sound = ManifestText(Sound()).value();
  for (const Golden& bad : kBad) {
    std::string text = sound;
    const size_t at = text.find(bad.from);
    ASSERT_NE(at, std::string::npos) << bad.from;
    text.replace(at, std::string(bad.from).size(), bad.to);
    const absl::StatusOr<Manifest> read = ParseManifest(text, "step-12/manifest.json");
    EXPECT_THAT(read.status(), IsError(kInvalidArgument, bad.says)) << bad.to;
    EXPECT_TRUE(absl::StartsWith(read.status().message(), "step-12/manifest.json: ")) << bad.to;
    EXPECT_FALSE(IsOtherFormat(read.status()));
  }
}

// Whatever happens to the text: a manifest that holds together, or an error that names the file.
TEST(Manifest, NoTextIsTooBadToBeRefused) {
  const std::string sound = ManifestText(Sound()).value();
  std::mt19937 random(7);
  int refused = 0;
  for (int trial = 0; trial < 5000; ++trial) {
    std::string text = sound;
    for (size_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % text.size(), length = random() % 20;
      const std::string piece = sound.substr(random() % sound.size(), random() % 20);
      if (random() % 2 == 0) text[at] = static_cast<char>(random());
      if (random() % 3 == 0) text.replace(at, length, piece);
    }
    const absl::StatusOr<Manifest> read = ParseManifest(text, "m.json");
    if (read.ok()) {
      EXPECT_EQ(ManifestText(*read).status(), absl::OkStatus());
      continue;
    }
    ++refused;
    EXPECT_TRUE(absl::StartsWith(read.status().message(), "m.json: ")) << read.status();
  }
  EXPECT_GT(refused, 1000);
}

TEST(Manifest, ARangeThatIsStoredTwiceIsRefused) {
  Manifest manifest = Sound();
  manifest.tensors[1].begin = 7, manifest.tensors[1].end = 11;
  EXPECT_THAT(ManifestText(manifest),
              IsError(kInvalidArgument, "tensors[1].begin: [7, 11) of w is in tensors[0] too"));
  manifest = Sound();
  manifest.tensors[2].offset = 0;
  EXPECT_THAT(ManifestText(manifest), IsError(kInvalidArgument, "tensors[2].begin: [0, 8) of w"));
  manifest = Sound();
  manifest.tensors[1].dtype = "I32";
  EXPECT_THAT(ManifestText(manifest), IsError(kInvalidArgument, "tensors[1].global_shape"));
}

TEST(Manifest, AnotherFormatIsNamedBeforeAnythingElseIsRead) {
  const absl::Status newer =
      ParseManifest("{\"format_version\":7,\"shards\":[]}", "m.json").status();
  EXPECT_THAT(newer, IsError(kDataLoss,
                             "m.json: format_version: the checkpoint has format 7, this program "
                             "reads format 1"));
  EXPECT_TRUE(IsOtherFormat(newer));
}

TEST(Manifest, WhatCannotBeReadBackIsNotWritten) {
  Manifest manifest = Sound();
  manifest.notes["note"] = "\xff";
  EXPECT_THAT(ManifestText(manifest), IsError(kInvalidArgument, "must be UTF-8"));
  manifest = Sound();
  manifest.files[0].sha256 = "";
  EXPECT_THAT(ManifestText(manifest), IsError(kInvalidArgument, "files[0].sha256"));
}

}  // namespace
}  // namespace fttrain
