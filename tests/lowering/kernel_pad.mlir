// A placement: fill the whole result, write relu(x) into its interior box. The box is taken with extract_slice, written
// by the generic that has it in outs, and put back with insert_slice: after bufferize all three are one subview.
// Interior dilation shows as strides of the box (here 2 in the last dim).
builtin.module {
  func.func @main(%x: tensor<8x16x14x14xf32>) -> tensor<8x16x16x29xf32> {
    %y = kernel.fused(%x) {layouts = [array<i64: 0, 2, 3, 1>]} : (tensor<8x16x14x14xf32>) -> tensor<8x16x16x29xf32> {
    ^bb0(%a: tensor<8x16x14x14xf32>):
      %zero = arith.constant 0.000000e+00 : f32
      %e = tensor.empty() : tensor<8x16x16x29xf32>
      %f = linalg.fill ins(%zero : f32) outs(%e : tensor<8x16x16x29xf32>) -> tensor<8x16x16x29xf32>
      %box = tensor.extract_slice %f[0, 0, 1, 1] [8, 16, 14, 14] [1, 1, 1, 2] : tensor<8x16x16x29xf32> to tensor<8x16x14x14xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%a : tensor<8x16x14x14xf32>) outs(%box : tensor<8x16x14x14xf32>) {
      ^bb1(%0: f32, %1: f32):
        %z = arith.constant 0.000000e+00 : f32
        %2 = arith.maximumf %0, %z : f32
        linalg.yield %2 : f32
      } -> tensor<8x16x14x14xf32>
      %p = tensor.insert_slice %r into %f[0, 0, 1, 1] [8, 16, 14, 14] [1, 1, 1, 2] : tensor<8x16x14x14xf32> into tensor<8x16x16x29xf32>
      kernel.yield %p : tensor<8x16x16x29xf32>
    }
    func.return %y : tensor<8x16x16x29xf32>
  }
}
