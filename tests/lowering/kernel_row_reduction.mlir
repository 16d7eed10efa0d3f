// One fold stage: y = sum over dim 1 of x * x, kept dimension. outs starts from a fill with the fold's initial value;
// the last block argument is the accumulator. Fold bodies end in  accumulator = combine(accumulator, expression).
builtin.module {
  func.func @main(%x: tensor<32x100xf32>) -> tensor<32x1xf32> {
    %y = kernel.fused(%x) : (tensor<32x100xf32>) -> tensor<32x1xf32> {
    ^bb0(%a: tensor<32x100xf32>):
      %zero = arith.constant 0.000000e+00 : f32
      %e = tensor.empty() : tensor<32x1xf32>
      %f = linalg.fill ins(%zero : f32) outs(%e : tensor<32x1xf32>) -> tensor<32x1xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, 0)>], iterator_types = ["parallel", "reduction"]} ins(%a : tensor<32x100xf32>) outs(%f : tensor<32x1xf32>) {
      ^bb1(%0: f32, %acc: f32):
        %1 = arith.mulf %0, %0 : f32
        %2 = arith.addf %acc, %1 : f32
        linalg.yield %2 : f32
      } -> tensor<32x1xf32>
      kernel.yield %r : tensor<32x1xf32>
    }
    func.return %y : tensor<32x1xf32>
  }
}
