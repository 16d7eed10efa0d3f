// Two folds over the same domain (n, h, w) in one generic with two results, then their epilogue over the 16 channels,
// again one generic with two results. x is channels-last in memory (its maker said so), which this text cannot show:
// at this level maps speak of logical dims only, strides come at bufferize.
builtin.module {
  func.func @main(%x: tensor<64x16x28x28xf32>) -> (tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>) {
    %m, %v = kernel.fused(%x) : (tensor<64x16x28x28xf32>) -> (tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>) {
    ^bb0(%a: tensor<64x16x28x28xf32>):
      %zero = arith.constant 0.000000e+00 : f32
      %e0 = tensor.empty() : tensor<1x16x1x1xf32>
      %f0 = linalg.fill ins(%zero : f32) outs(%e0 : tensor<1x16x1x1xf32>) -> tensor<1x16x1x1xf32>
      %e1 = tensor.empty() : tensor<1x16x1x1xf32>
      %f1 = linalg.fill ins(%zero : f32) outs(%e1 : tensor<1x16x1x1xf32>) -> tensor<1x16x1x1xf32>
      %s, %q = linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3) -> (d0, d1, d2, d3)>, affine_map<(d0, d1, d2, d3) -> (0, d1, 0, 0)>, affine_map<(d0, d1, d2, d3) -> (0, d1, 0, 0)>], iterator_types = ["reduction", "parallel", "reduction", "reduction"]} ins(%a : tensor<64x16x28x28xf32>) outs(%f0, %f1 : tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>) {
      ^bb1(%0: f32, %acc0: f32, %acc1: f32):
        %1 = arith.addf %acc0, %0 : f32
        %2 = arith.mulf %0, %0 : f32
        %3 = arith.addf %acc1, %2 : f32
        linalg.yield %1, %3 : f32, f32
      } -> (tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>)
      %e2 = tensor.empty() : tensor<1x16x1x1xf32>
      %e3 = tensor.empty() : tensor<1x16x1x1xf32>
      %mean, %var = linalg.generic {indexing_maps = [affine_map<(d0) -> (0, d0, 0, 0)>, affine_map<(d0) -> (0, d0, 0, 0)>, affine_map<(d0) -> (0, d0, 0, 0)>, affine_map<(d0) -> (0, d0, 0, 0)>], iterator_types = ["parallel"]} ins(%s, %q : tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>) outs(%e2, %e3 : tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>) {
      ^bb1(%0: f32, %1: f32, %2: f32, %3: f32):
        %count = arith.constant 5.017600e+04 : f32
        %4 = arith.divf %0, %count : f32
        %5 = arith.divf %1, %count : f32
        %6 = arith.mulf %4, %4 : f32
        %7 = arith.subf %5, %6 : f32
        linalg.yield %4, %7 : f32, f32
      } -> (tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>)
      kernel.yield %mean, %var : tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>
    }
    func.return %m, %v : tensor<1x16x1x1xf32>, tensor<1x16x1x1xf32>
  }
}
