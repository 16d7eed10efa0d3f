// Overlap-add: windows of 3 with stride 2 on the last dim overlap, so the write accumulates. Window positions and offsets
// are "reduction" dims that occur in the output map; only the others (d0, d1) are parallel. Order: as the loops nest.
// Where windows do not overlap (stride >= reach) all dims are parallel and the body just yields the value.
builtin.module {
  func.func @main(%g: tensor<8x16x6x3xf32>) -> tensor<8x16x13xf32> {
    %y = kernel.fused(%g) : (tensor<8x16x6x3xf32>) -> tensor<8x16x13xf32> {
    ^bb0(%a: tensor<8x16x6x3xf32>):
      %zero = arith.constant 0.000000e+00 : f32
      %e = tensor.empty() : tensor<8x16x13xf32>
      %f = linalg.fill ins(%zero : f32) outs(%e : tensor<8x16x13xf32>) -> tensor<8x16x13xf32>
      %r = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (d0, d1, d2 * 2 + d3)>], iterator_types = ["parallel", "parallel", "reduction", "reduction"]} ins(%a : tensor<8x16x6x3xf32>) outs(%f : tensor<8x16x13xf32>) {
      ^bb1(%0: f32, %acc: f32):
        %1 = arith.addf %acc, %0 : f32
        linalg.yield %1 : f32
      } -> tensor<8x16x13xf32>
      kernel.yield %r : tensor<8x16x13xf32>
    }
    func.return %y : tensor<8x16x13xf32>
  }
}
