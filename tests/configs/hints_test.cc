// The tables behind "did you mean".
#include "configs/hints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "configs/nearest_word.h"
#include "configs/run_config.pb.h"
#include "configs/schema.h"
#include "configs/schema_comments.h"

namespace fttrain::config {
namespace {

TEST(Hints, LeadToKeysThatExist) {
  const std::vector<std::string> keys = AllKeys(*RunConfig::descriptor());
  for (const Hint& hint : AllHints()) {
    if (hint.key.empty()) continue;
    const auto is_it_or_in_it = ::testing::AnyOf(hint.key, ::testing::StartsWith(hint.key + "."));
    EXPECT_THAT(keys, ::testing::Contains(is_it_or_in_it)) << hint.name;
  }
}

TEST(Hints, NameNothingTwiceAndNoKeyOfOurs) {
  std::set<std::string> last_words;
  for (const std::string& key : AllKeys(*RunConfig::descriptor())) {
    last_words.insert(key.substr(key.rfind('.') + 1));
  }
  std::set<std::pair<std::string, std::string>> seen;
  for (const Hint& hint : AllHints()) {
    EXPECT_TRUE(seen.emplace(hint.section, hint.name).second) << hint.name;
    // Inside a list's elements a word may mean something else than elsewhere in the schema.
    if (hint.section.empty()) {
      EXPECT_EQ(last_words.count(hint.name), 0u) << hint.name;
    }
  }
}

// The names of the four tools' documentation that a run's file most often has.
TEST(Hints, KnowTheOthersNames) {
  const std::vector<std::string> names = absl::StrSplit(
      "base_model lora_r lora_alpha lora_dropout lora_target_modules lora_target_linear "
      "lora_modules_to_save peft_use_rslora load_in_4bit bf16 tf32 gradient_checkpointing "
      "attn_implementation datasets sample_packing pad_to_sequence_len train_on_inputs "
      "val_set_size lr_scheduler cosine_min_lr_ratio warmup_ratio adam_beta1 adam_epsilon "
      "logging_steps use_tensorboard tensor_parallel_size pipeline_parallel_size "
      "expert_parallel_size expert_model_parallel_size "
      "model_name_or_path lora_rank lora_target cutoff_len max_seq_length max_length "
      "per_device_train_batch_size batch_size mask_prompt roles_to_train mask_history date_string "
      "num_train_epochs epochs lr_scheduler_type "
      "val_size template finetuning_type report_to stage do_train overwrite_output_dir "
      "preprocessing_num_workers plot_loss gradient_checkpointing_kwargs bnb_4bit_compute_dtype "
      "dataset_prepared_path push_to_hub remove_unused_columns run_name",
      ' ');
  for (const std::string& name : names) {
    const std::string message = UnknownKeyMessage(*RunConfig::descriptor(), "", name);
    EXPECT_THAT(message, ::testing::Not(::testing::HasSubstr("unknown key"))) << name;
  }
}

TEST(Hints, TellSupervisedFineTuningFromAShardedOptimizer) {
  const std::string message = UnknownKeyMessage(*RunConfig::descriptor(), "", "stage");
  EXPECT_THAT(message, ::testing::HasSubstr("`train` is supervised fine-tuning (sft)"));
  EXPECT_EQ(WordKnownElsewhere("data.train_on", "gpt"), "all");
  EXPECT_EQ(WordKnownElsewhere("data.train_on", "human"), "prompt");
  EXPECT_EQ(WordKnownElsewhere("data.train[3].format", "conversations"), "sharegpt");
}

TEST(NearestWord, CountsInsertionDeletionReplacementAndSwapAsOne) {
  EXPECT_EQ(EditDistance("tensor", "tensor"), 0);
  EXPECT_EQ(EditDistance("tensr", "tensor"), 1);
  EXPECT_EQ(EditDistance("tennsor", "tensor"), 1);
  EXPECT_EQ(EditDistance("tenzor", "tensor"), 1);
  EXPECT_EQ(EditDistance("tesnor", "tensor"), 1);
  EXPECT_EQ(EditDistance("Max-Steps", "max_steps"), 0);
  EXPECT_EQ(EditDistance("", "abc"), 3);
}

TEST(NearestWord, IsEmptyWhenNothingIsNear) {
  EXPECT_EQ(NearestWord("recmpute", {"activations", "recompute"}), "recompute");
  EXPECT_EQ(NearestWord("banana", {"activations", "recompute"}), "");
  EXPECT_EQ(NearestWord("a", {"r"}), "");
  EXPECT_EQ(NearestWord(std::string(1000, 'r'), {"r"}), "");
}

TEST(Schema, SpellsEnumsInLowerCaseWithoutTheirPrefix) {
  EXPECT_EQ(Word(PIPELINE_SCHEDULE_1F1B), "1f1b");
  EXPECT_EQ(Word(ON_BAD_ROW_SKIP), "skip");
  EXPECT_THAT(EnumWords(*AdapterMethod_descriptor()),
              ::testing::ElementsAre("none", "lora", "qlora"));
}

void CheckFields(const google::protobuf::Descriptor& section) {
  for (int i = 0; i < section.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *section.field(i);
    if (field.message_type() != nullptr) CheckFields(*field.message_type());
    if (field.message_type() != nullptr && !field.is_repeated()) continue;
    const std::string comment = absl::StrJoin(CommentOf(field), " ");
    EXPECT_THAT(comment, ::testing::ContainsRegex("Default: |Required")) << field.full_name();
    using google::protobuf::FieldDescriptor;
    const bool is_number = field.cpp_type() == FieldDescriptor::CPPTYPE_INT32 ||
                           field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 ||
                           field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE;
    EXPECT_EQ(is_number, !RangeText(field).empty()) << field.full_name();
    // A comment that lists the words of an enum lists them all.
    if (field.enum_type() == nullptr) continue;
    for (const std::string& word : EnumWords(*field.enum_type())) {
      EXPECT_THAT(comment, ::testing::HasSubstr(word)) << field.full_name();
    }
  }
}

TEST(Schema, EveryKeyHasACommentWithItsDefaultAndEveryNumberARange) {
  CheckFields(*RunConfig::descriptor());
}

}  // namespace
}  // namespace fttrain::config
