//! What runs: every op with its contract, twin, derivative, cases and cost. [`OPS`] is the registry.

pub mod activation;
pub mod adamw;
pub mod add;
pub mod attention;
pub mod attention_backward;
pub(crate) mod attention_bias;
pub mod attention_cached;
mod attention_cases;
mod attention_common;
mod attention_one_pass;
pub mod backward;
pub mod causal_conv;
pub mod causal_conv_cached;
mod cell_common;
pub mod column_sum;
pub mod columns;
pub mod combine;
pub mod cross_entropy;
pub mod decoding;
pub mod dispatched;
pub mod divide;
pub mod draw_token;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod entropy;
pub mod gated;
pub mod gelu;
pub mod grad_norm;
pub mod gru_cell;
pub mod heads;
pub mod layer_norm;
pub mod layer_norm_weights;
pub mod logistic_loss;
pub mod lstm_cell;
pub mod matmul;
pub mod multiply;
pub mod norm_linear;
pub mod policy_loss;
pub mod prelude;
pub mod reshape;
pub mod residual_norm;
pub mod rms_norm;
pub mod rnn_cell;
pub mod rope;
pub mod rows;
pub mod sgd;
pub mod softmax;
pub mod squared_loss;
pub mod sum;
pub mod unary;
pub mod zeros;

use crate::engine::op::OpInfo;

/// Every op. Tests, reports and documentation walk this list; a new op is one line here.
pub static OPS: &[&OpInfo] = &[
    &embedding::EMBEDDING,
    &embedding::EMBEDDING_BACKWARD,
    &matmul::MATMUL,
    &layer_norm::LAYER_NORM,
    &layer_norm::LAYER_NORM_BACKWARD,
    &layer_norm_weights::LAYER_NORM_WEIGHTS,
    &residual_norm::RESIDUAL_NORM,
    &rms_norm::RMS_NORM,
    &norm_linear::NORM_LINEAR,
    &softmax::SOFTMAX,
    &softmax::SOFTMAX_BACKWARD,
    &heads::SPLIT_HEADS,
    &heads::MERGE_HEADS,
    &heads::ADD_HEADS,
    &rope::ROPE,
    &causal_conv::CAUSAL_CONV,
    &causal_conv::CAUSAL_CONV_WEIGHTS,
    &causal_conv_cached::CAUSAL_CONV_CACHED,
    &attention::ATTENTION,
    &attention_backward::ATTENTION_BACKWARD,
    &attention_cached::ATTENTION_CACHED,
    &draw_token::DRAW_TOKEN,
    &gelu::GELU,
    &gelu::GELU_BACKWARD,
    &activation::ACTIVATION,
    &activation::ACTIVATION_BACKWARD,
    &multiply::MULTIPLY,
    &multiply::MULTIPLY_BACKWARD,
    &gated::GATED,
    &gated::GATED_BACKWARD,
    &dropout::DROPOUT,
    &columns::SPLIT_COLUMNS,
    &columns::CONCAT_COLUMNS,
    &rows::TAKE_ROWS,
    &rows::PUT_ROWS,
    &rows::CONCAT_ROWS,
    &rnn_cell::RNN_CELL,
    &rnn_cell::RNN_CELL_BACKWARD,
    &gru_cell::GRU_CELL,
    &gru_cell::GRU_CELL_BACKWARD,
    &lstm_cell::LSTM_CELL,
    &lstm_cell::LSTM_CELL_BACKWARD,
    &cross_entropy::CROSS_ENTROPY,
    &logistic_loss::LOGISTIC_LOSS,
    &squared_loss::SQUARED_LOSS,
    &policy_loss::POLICY_LOSS,
    &entropy::ENTROPY,
    &add::ADD,
    &combine::COMBINE,
    &reshape::RESHAPE,
    &zeros::ZEROS,
    &sum::SUM,
    &column_sum::COLUMN_SUM,
    &grad_norm::GRAD_NORM,
    &divide::DIVIDE,
    &adamw::ADAMW,
    &sgd::SGD,
];
