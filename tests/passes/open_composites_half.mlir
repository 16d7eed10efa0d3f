// RUN: lamina opt %s -p 'open-composites' | filecheck %s
// A composite of half precision is computed in float32 and rounded once; a product's factors stay narrow.
builtin.module {
  func.func @main(%x: tensor<4x8xbf16>, %w: tensor<8x8xbf16>, %b: tensor<8xbf16>) -> (tensor<4x8xbf16>, tensor<4x8xbf16>) {
    %0 = nn.silu %x : (tensor<4x8xbf16>) -> tensor<4x8xbf16>
    %1 = nn.linear %x, %w, %b : (tensor<4x8xbf16>, tensor<8x8xbf16>, tensor<8xbf16>) -> tensor<4x8xbf16>
    func.return %0, %1 : tensor<4x8xbf16>, tensor<4x8xbf16>
  }
}
// CHECK:      %[[X:.*]] = prim.cast %x {{.*}} -> tensor<4x8xf32>
// CHECK-NEXT: %[[P:.*]] = prim.sigmoid %[[X]] : (tensor<4x8xf32>) -> tensor<4x8xf32>
// CHECK-NEXT: %[[Y:.*]] = prim.mul %[[X]], %[[P]] : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<4x8xf32>
// CHECK-NEXT: prim.cast %[[Y]] {{.*}} -> tensor<4x8xbf16>
// CHECK-NOT:  xf32
